"""`mode=layers`: a case for the whole model, and one for each of its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from microbench.config import ModeConfig
from microbench.quoting import option
from microbench.records.record import DistinctLayer, Outcome, Status
from microbench.run.case import Case

MODE = "layers"

Layers = Sequence[DistinctLayer]
Extracted = Layers | Outcome
"""The layers of a case's model, or how finding them failed."""


def expanded(cases: Sequence[Case], extract: Callable[[Case], Extracted]) -> list[Case]:
    """The cases, those of `mode=layers` replaced by the ones that they stand for, each with its new place.

    Models are taken apart once for all engines, threads and so on.
    """
    if not any(map(stands_for_layers, cases)):
        return list(cases)
    known: dict[str, Extracted] = {}
    found: list[Case] = []
    for case in cases:
        if not stands_for_layers(case):
            found.append(case)
            continue
        key = _model_of(case)
        if key not in known:
            known[key] = extract(case)
        found += _taken_apart(case, known[key])
    return [replace(case, order=order) for order, case in enumerate(found)]


def stands_for_layers(case: Case) -> bool:
    """Whether a case is one of `mode=layers`."""
    return case.config.mode.name == MODE


def _model_of(case: Case) -> str:
    """What decides which layers there are."""
    config = case.config
    return repr((asdict(config.model), config.batch_size, config.mode.each))


def _taken_apart(case: Case, layers: Extracted) -> list[Case]:
    """The whole model in the mode that its layers are measured in, and each of these."""
    kept = [each for each in case.overrides if _key(each) not in ("mode", "mode.each")]
    each = case.config.mode.each
    config = replace(case.config, mode=ModeConfig(each))
    whole = replace(case, config=config, overrides=(*kept, f"mode={each}"))
    if isinstance(layers, Outcome):
        return [replace(whole, known=layers)]
    return [whole, *(_alone(whole, layer) for layer in layers)]


def _alone(whole: Case, layer: DistinctLayer) -> Case:
    """The case of one layer."""
    reason = layer.unmeasured
    return replace(
        whole,
        config=replace(whole.config, model=replace(whole.config.model, part=layer.part)),
        overrides=(*whole.overrides, option("model.part", layer.part)),
        layer=layer,
        known=None if reason is None else Outcome(status=Status.SKIPPED, error=f"not measured: {reason}"),
    )


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+")
