"""What the machine and the cases are called in every report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from microbench.results.cases import CaseResult
from microbench.results.record import Record


def relative(path: Path) -> str:
    """A path as it is from here, where it lies below; with `./` where it would be taken for an option."""
    try:
        text = str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        text = str(path)
    return f"./{text}" if text.startswith("-") else text


def count(number: int, noun: str) -> str:
    """A number of things: `1 round`, `6 rounds`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def machine(cases: Sequence[CaseResult]) -> str:
    """The machine and the software that all cases ran on, on one line."""
    record = cases[0].first
    threads = {case.first.get("env_threads") or case.first["cfg_threads"] for case in cases}
    allocators = {case.first["env_allocator"] for case in cases} - {None}
    env = {key.removeprefix("env_"): value for key, value in record.items() if key.startswith("env_")}
    parts = [
        env.get("gpu"),
        f"{env['cpu']}, {count(env['physical_cores'], 'core')}",
        count(threads.pop(), "thread") if len(threads) == 1 else None,
        f"torch {env['torch']}",
        *sorted({case.first["env_engine"] for case in cases if not is_torch(case.first)}),
        f"Python {env['python']}",
        f"{allocators.pop()} malloc" if len(allocators) == 1 else None,
        env["os"],
    ]
    return " · ".join(str(part) for part in parts if part)


def is_torch(record: Record) -> bool:
    """Whether torch itself ran a case, or it is not known what did."""
    return str(record.get("env_engine") or "torch").partition(" ")[0] == "torch"


def label(record: Record) -> str:
    """What a case is, on one line."""
    settings = f"batch {record['cfg_batch_size']}, {record['cfg_precision']}, {record['cfg_engine']}"
    name = " ".join(filter(None, (record["cfg_model"], record.get("cfg_part"))))
    return f"{name} {record['cfg_mode']}, {settings}, {record['cfg_device']}"


def items(record: Record) -> str:
    """What a batch consists of."""
    return "items" if record["config"]["model"]["source"] == "layer" else "images"
