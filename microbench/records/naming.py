"""What cases are called: by what tells them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from microbench.records.cases import CaseResult

PART = "part"  # the axis that tells a part of a model from the whole


def labels(cases: Sequence[CaseResult], telling: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """What each case of a sweep is: model, mode, and the `telling` settings, by default those that vary.

    A part of a model is named beside it.
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


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A configuration's values as text, by dotted key."""
    found: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = str(value)
    return found


def varying(cases: Sequence[CaseResult]) -> dict[str, list[str]]:
    """The settings that tell cases apart, besides model and mode: by name, each case's value.

    These are the axes that differ; where they leave two cases alike, every other setting that differs too.
    """
    values = {
        axis: [str(case.axes[axis]) for case in cases]
        for axis in cases[0].axes
        if axis not in ("model", "mode", "input_shape")
    }
    found = {name: each for name, each in values.items() if len(set(each)) > 1}
    names = [(case.config.model.name, case.config.mode.name) for case in cases]
    if len(set(zip(names, *found.values(), strict=True))) < len(cases):
        configs = [flat(asdict(case.config)) for case in cases]
        for key in dict.fromkeys(key for config in configs for key in config):
            each = [config.get(key, "") for config in configs]
            group, _, name = key.partition(".")
            if group not in {*found, "mode"} and name != PART and _differs_within(names, each):
                found[key] = each
    return found


def _differs_within(names: Sequence[Any], values: Sequence[str]) -> bool:
    """Whether two cases of one name have different values."""
    return len(set(zip(names, values, strict=True))) > len(set(names))
