"""What cases are called: by what tells them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from microbench.results.cases import CaseResult

PART = "part"  # the axis that tells a part of a model from the whole


def labels(cases: Sequence[CaseResult], telling: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """What each case of a sweep is: model, mode, and the `telling` settings, by default those that vary.

    A part of a model is named beside it.
    """
    settings = varying(cases) if telling is None else telling
    return [
        ", ".join(
            [
                " ".join(filter(None, (record["cfg_model"], record.get("cfg_part"), record["cfg_mode"]))),
                *(f"{name}={values[index]}" for name, values in settings.items() if name != PART),
            ]
        )
        for index, record in enumerate(case.first for case in cases)
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
    first = [case.first for case in cases]
    values = {
        axis.removeprefix("cfg_"): [str(record.get(axis)) for record in first]
        for axis in first[0]
        if axis.startswith("cfg_") and axis not in ("cfg_model", "cfg_mode", "cfg_input_shape")
    }
    found = {name: each for name, each in values.items() if len(set(each)) > 1}
    names = [(record["cfg_model"], record["cfg_mode"]) for record in first]
    if len(set(zip(names, *found.values(), strict=True))) < len(cases):
        configs = [flat(record["config"]) for record in first]
        for key in dict.fromkeys(key for config in configs for key in config):
            each = [config.get(key, "") for config in configs]
            group, _, name = key.partition(".")
            if group not in {*found, "mode"} and name != PART and _differs_within(names, each):
                found[key] = each
    return found


def _differs_within(names: Sequence[Any], values: Sequence[str]) -> bool:
    """Whether two cases of one name have different values."""
    return len(set(zip(names, values, strict=True))) > len(set(names))
