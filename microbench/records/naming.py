"""Labels of cases, from what distinguishes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from microbench.records.cases import CaseResult

OF_INPUTS = ("input_shape", "seq_len")  # axes that differ because models do
PART = "part"  # the axis that distinguishes a part of a model from the whole


def labels(cases: Sequence[CaseResult], telling: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """Return each case's label: model, mode, and the `telling` settings, by default those that vary.

    A part of a model is named after it.
    """
    settings = varying(cases) if telling is None else telling
    return [
        ", ".join(
            [
                f"{case.name} {case.config.mode.name}",
                *(f"{name}={values[index]}" for name, values in settings.items() if name != PART),
            ]
        )
        for index, case in enumerate(cases)
    ]


def differences(cases: Sequence[CaseResult], but: Collection[str] = ()) -> list[str]:
    """Return what distinguishes each case from the others, such as `engine=eager, threads=2`."""
    settings = {name: values for name, values in varying(cases).items() if name not in but}
    return [
        ", ".join(f"{name}={values[index]}" for name, values in settings.items())
        for index, _ in enumerate(cases)
    ]


def flat(config: Any, prefix: str = "") -> dict[str, str]:
    """Return the values of a configuration, a dataclass or a mapping, as text by dotted key."""
    found: dict[str, str] = {}
    for name, value in (config if isinstance(config, Mapping) else vars(config)).items():
        if isinstance(value, Mapping) or is_dataclass(value):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = str(value)
    return found


def varying(cases: Sequence[CaseResult]) -> dict[str, list[str]]:
    """Return the settings that distinguish cases, besides model and mode: for each name, each case's value.

    These are the axes that differ; if two cases agree in all axes, also every other setting that differs.
    """
    values = {
        axis: [str(case.axes[axis]) for case in cases]
        for axis in (cases[0].axes if cases else ())
        if axis not in ("model", "mode", *OF_INPUTS)
    }
    found = {name: each for name, each in values.items() if len(set(each)) > 1}
    names = [(case.config.model.name, case.config.mode.name) for case in cases]
    if len(set(zip(names, *found.values(), strict=True))) < len(cases):
        configs = [flat(case.config) for case in cases]
        for key in dict.fromkeys(key for config in configs for key in config):
            each = [config.get(key, "") for config in configs]
            group, _, name = key.partition(".")
            if group not in {*found, "mode"} and name != PART and _differs_within(names, each):
                found[key] = each
    return found


def _differs_within(names: Sequence[Any], values: Sequence[str]) -> bool:
    """Return whether two cases of the same name have different values."""
    return len(set(zip(names, values, strict=True))) > len(set(names))
