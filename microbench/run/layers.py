"""`mode=layers`: a case for the whole model, and one for each of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import count

from microbench.config import ModeConfig
from microbench.quoting import option
from microbench.records.record import DistinctLayer, Outcome, Status
from microbench.run.case import Case

MODE = "layers"

Layers = Sequence[DistinctLayer]
Extracted = Layers | Outcome
"""The layers of a case's model, or the outcome of failing to find them."""


def expanded(cases: Iterable[Case], extract: Callable[[Case], Extracted]) -> Iterator[Case]:
    """Yield the cases, each with its place; those of `mode=layers` expanded to a model and its layers.

    A model is taken apart once for all engines, threads and so on.
    """
    known: dict[str, Extracted] = {}
    place = count()
    for case in cases:
        found = [case]
        if stands_for_layers(case):
            config = case.config
            key = repr((asdict(config.model), config.batch_size, config.mode.each))
            if case.known is None and key not in known:
                known[key] = extract(case)
            found = _taken_apart(case, case.known or known[key])
        yield from (replace(each, order=next(place)) for each in found)


def stands_for_layers(case: Case) -> bool:
    """Return whether a case is one of `mode=layers`."""
    return case.config.mode.name == MODE


def _taken_apart(case: Case, layers: Extracted) -> list[Case]:
    """Return the case of the whole model, in the mode of its layers, and one case per layer."""
    kept = [
        each for each in case.overrides if each.partition("=")[0].lstrip("+") not in ("mode", "mode.each")
    ]
    each = case.config.mode.each
    config = replace(case.config, mode=ModeConfig(each))
    whole = replace(case, config=config, overrides=(*kept, f"mode={each}"))
    if isinstance(layers, Outcome):
        return [replace(whole, known=layers)]
    return [whole, *(_alone(whole, layer) for layer in layers)]


def _alone(whole: Case, layer: DistinctLayer) -> Case:
    """Return the case of one layer."""
    reason = layer.unmeasured
    return replace(
        whole,
        config=replace(whole.config, model=replace(whole.config.model, part=layer.part)),
        overrides=(*whole.overrides, option("model.part", layer.part)),
        layer=layer,
        known=None if reason is None else Outcome(status=Status.SKIPPED, error=f"not measured: {reason}"),
    )
