"""What the machine and the cases are called in every report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from microbench.results.cases import CaseResult
from microbench.results.record import Record


def relative(path: Path) -> str:
    """A path as it is from here, where it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def count(number: int, noun: str) -> str:
    """A number of things: `1 round`, `6 rounds`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def machine(cases: Sequence[CaseResult]) -> str:
    """The machine and the software that all cases ran on, on one line."""
    record = cases[0].first
    threads = {case.first["cfg_threads"] for case in cases}
    allocators = {case.first["env_allocator"] for case in cases}
    env = {key.removeprefix("env_"): value for key, value in record.items() if key.startswith("env_")}
    parts = [
        env.get("gpu"),
        f"{env['cpu']}, {count(env['physical_cores'], 'core')}",
        count(threads.pop(), "thread") if len(threads) == 1 else None,
        f"torch {env['torch']}",
        f"Python {env['python']}",
        f"{allocators.pop()} malloc" if len(allocators) == 1 else None,
        env["os"],
    ]
    return " · ".join(str(part) for part in parts if part)


def label(record: Record) -> str:
    """What a case is, on one line."""
    settings = f"batch {record['cfg_batch_size']}, {record['cfg_precision']}, {record['cfg_engine']}"
    return f"{record['cfg_model']} {record['cfg_mode']}, {settings}, {record['cfg_device']}"


def labels(cases: Sequence[CaseResult]) -> list[str]:
    """What each case of a sweep is: model, mode, and what varies."""
    settings = varying(cases)
    return [
        ", ".join(
            [
                f"{case.first['cfg_model']} {case.first['cfg_mode']}",
                *(f"{name}={values[index]}" for name, values in settings.items()),
            ]
        )
        for index, case in enumerate(cases)
    ]


def items(record: Record) -> str:
    """What a batch consists of."""
    return "items" if record["config"]["model"]["source"] == "layer" else "images"


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
        axis.removeprefix("cfg_"): [str(record[axis]) for record in first]
        for axis in first[0]
        if axis.startswith("cfg_") and axis not in ("cfg_model", "cfg_mode", "cfg_input_shape")
    }
    found = {name: each for name, each in values.items() if len(set(each)) > 1}
    names = [(record["cfg_model"], record["cfg_mode"]) for record in first]
    if len(set(zip(names, *found.values(), strict=True))) < len(cases):
        configs = [flat(record["config"]) for record in first]
        for key in dict.fromkeys(key for config in configs for key in config):
            each = [config.get(key, "") for config in configs]
            if key.partition(".")[0] not in {*found, "mode"} and _differs_within(names, each):
                found[key] = each
    return found


def _differs_within(names: Sequence[Any], values: Sequence[str]) -> bool:
    """Whether two cases of one name have different values."""
    return len(set(zip(names, values, strict=True))) > len(set(names))
