"""The tables that a run ends with: one case's phases as rows, or a sweep's cases as rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from microbench.reports import units
from microbench.results.result import Record, Result

PHASES = ("forward", "loss", "backward", "update", "total", "inference")
WHOLE = ("total", "inference")
LEAST_LOSS = 0.01  # of the total: a smaller loss phase is not shown
STOP_TEXTS = {
    "rel_ci": "the interval is narrow enough (measure.rel_ci)",
    "max_time": "time was up (measure.max_time)",
    "max_samples": "samples enough (measure.max_samples)",
}


def console() -> Console:
    """A console on standard output; in a pipe it is wide, so that no row is cut."""
    found = Console(highlight=False)
    if not found.is_terminal:
        found.width = max(found.width, 160)
    return found


def show(result: Result, out: Console) -> None:
    """Print a result: the machine, a table, warnings, and where the records are."""
    cases = result.cases()
    if not cases:
        return
    out.print(escape(machine(cases[0][0])), style="dim")
    if len(cases) == 1:
        _show_case(cases[0], out)
    else:
        out.print(sweep_table(cases))
    _show_remarks(cases, out)
    out.print(f"records: {escape(_relative(result.path))} ({len(result.records)} series)", style="dim", soft_wrap=True)


def _relative(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def machine(record: Record) -> str:
    """The machine and the software, on one line."""
    env = {key.removeprefix("env_"): value for key, value in record.items() if key.startswith("env_")}
    parts = [
        env.get("gpu"),
        f"{env['cpu']}, {record['cfg_threads']} of {env['physical_cores']} cores",
        f"torch {env['torch']}",
        f"Python {env['python']}",
        f"{env['allocator']} malloc",
        env["os"],
    ]
    return " · ".join(str(part) for part in parts if part)


def label(record: Record) -> str:
    """What a case is, on one line."""
    settings = f"batch {record['cfg_batch_size']}, {record['cfg_precision']}, {record['cfg_engine']}"
    return f"{record['cfg_model']} {record['cfg_mode']}, {settings}, {record['cfg_device']}"


def items(record: Record) -> str:
    """What a batch consists of."""
    return "items" if record["config"]["model"]["source"] == "layer" else "images"


def throughput(record: Record) -> float | None:
    """Items per second: the batch over the median time."""
    median = record["median"]
    return record["cfg_batch_size"] / median if median else None


def _half_width(record: Record) -> float | None:
    """Half the interval's width in seconds."""
    if record["ci_low"] is None or record["ci_high"] is None:
        return None
    return float(record["ci_high"] - record["ci_low"]) / 2


def _by_phase(records: Iterable[Record]) -> dict[str, Record]:
    return {record["phase"]: record for record in records if record["median"] is not None}


def shown_phases(series: Mapping[str, Record]) -> list[str]:
    """The phases to show, in their order: the loss only where it is more than 1 % of the total."""
    loss, total = series.get("loss"), series.get("total")
    hide_loss = loss is not None and total is not None and loss["median"] <= LEAST_LOSS * total["median"]
    return [phase for phase in PHASES if phase in series and not (phase == "loss" and hide_loss)]


def _show_case(records: Sequence[Record], out: Console) -> None:
    first, series = records[0], _by_phase(records)
    shape = f"{first['cfg_batch_size']}x{first['cfg_input_shape']}"
    out.print(f"[bold]{escape(label(first))}[/bold], input {shape}")
    if not shown_phases(series):
        return
    out.print(case_table(series, items(first)))
    out.print(_facts(series), style="dim")


def case_table(series: Mapping[str, Record], noun: str) -> Table:
    """A row a phase: median, interval, its half-width as a share, throughput and samples."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("phase")
    for name in ("median", "95 % interval", "±", f"{noun}/s", "samples"):
        table.add_column(name, justify="right")
    for phase in shown_phases(series):
        record = series[phase]
        median, half_width = record["median"], _half_width(record)
        low, high = record["ci_low"], record["ci_high"]
        table.add_row(
            phase,
            units.time(median, half_width),
            units.interval(low, high, median) if half_width is not None else "too few samples",
            units.share(half_width / median) if half_width is not None and median else "",
            _rate(record) if phase in WHOLE else "",
            str(record["n"]),
            style="bold" if phase in WHOLE else None,
        )
    return table


def _rate(record: Record) -> str:
    value, half_width = throughput(record), _half_width(record)
    if value is None:
        return ""
    return units.rate(value, half_width / record["median"] if half_width else None)


def _facts(series: Mapping[str, Record]) -> str:
    whole = next(series[phase] for phase in WHOLE if phase in series)
    facts = []
    if whole["peak_memory"] is not None:
        facts.append(f"peak memory {units.memory(whole['peak_memory'])}")
    if whole["calls_per_sample"] > 1:
        facts.append(f"{whole['calls_per_sample']} calls a sample")
    facts.append(f"stopped: {STOP_TEXTS[whole['stop_reason']]}")
    facts.append(f"warm-up {len(whole['warmup'])} steps")
    if first_call := series.get("first_call"):
        facts.append(f"first call {units.time(first_call['median'])}")
    return " · ".join(facts)


def varying_axes(cases: Sequence[Sequence[Record]]) -> list[str]:
    """The axes that differ between the cases of a sweep, but for the model and the mode."""
    axes = [key for key in cases[0][0] if key.startswith("cfg_") and key not in ("cfg_model", "cfg_mode")]
    return [axis for axis in axes if len({str(case[0].get(axis)) for case in cases}) > 1]


def sweep_table(cases: Sequence[Sequence[Record]]) -> Table:
    """A row for each model and setting, its modes side by side: a column a phase."""
    axes = varying_axes(cases)
    rows: dict[tuple[Any, ...], dict[str, Record]] = {}
    statuses: dict[tuple[Any, ...], list[str]] = {}
    for case in cases:
        key = _row_key(case[0], axes, rows)
        rows.setdefault(key, {}).update(_by_phase(case))
        statuses.setdefault(key, []).append(case[0]["status"])
    phases = [phase for phase in PHASES if any(phase in shown_phases(series) for series in rows.values())]
    return _fill(axes, phases, rows, statuses)


def _row_key(record: Record, axes: Sequence[str], rows: Mapping[tuple[Any, ...], dict[str, Record]]) -> tuple[Any, ...]:
    """The row of a case: a second case of the same mode and axes gets a row of its own."""
    key = (record["cfg_model"], *(str(record[axis]) for axis in axes))
    while any(series["cfg_mode"] == record["cfg_mode"] for series in rows.get(key, {}).values()):
        key = (*key, "")
    return key


def _fill(
    axes: Sequence[str],
    phases: Sequence[str],
    rows: Mapping[tuple[Any, ...], Mapping[str, Record]],
    statuses: Mapping[tuple[Any, ...], Sequence[str]],
) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True)
    for axis in axes:
        table.add_column(axis.removeprefix("cfg_"), justify="right")
    wholes = [phase for phase in WHOLE if phase in phases]
    names = [*phases, *(f"{phase} items/s" for phase in wholes), *(f"{phase} memory" for phase in wholes)]
    for name in names:
        table.add_column(name, justify="right")
    failed = any(status != "ok" for each in statuses.values() for status in each)
    if failed:
        table.add_column("status")
    for key, series in rows.items():
        found = [series.get(phase) for phase in wholes]
        cells = [
            *(_cell(series.get(phase)) for phase in phases),
            *(_rate(record) if record else "" for record in found),
            *(_memory(record) for record in found),
        ]
        status = ", ".join(dict.fromkeys(statuses[key]))
        table.add_row(*key[: 1 + len(axes)], *cells, *([status] if failed else []))
    return table


def _cell(record: Record | None) -> str:
    if record is None:
        return ""
    half_width = _half_width(record)
    text = units.time(record["median"], half_width)
    return f"{text} ±{units.share(half_width / record['median'])}" if half_width else text


def _memory(record: Record | None) -> str:
    return units.memory(record["peak_memory"]) if record and record["peak_memory"] is not None else ""


def _show_remarks(cases: Sequence[Sequence[Record]], out: Console) -> None:
    """Errors and warnings, each with the case it is of where there are several."""
    for case in cases:
        first = case[0]
        prefix = f"{label(first)}: " if len(cases) > 1 else ""
        if first["status"] != "ok":
            out.print(f"[red]{first['status']}[/red]: {escape(prefix + first['error'])}", soft_wrap=True)
        for warning in first["warnings"]:
            text = f"{prefix}{warning['message']} \\[{warning['code']}]"
            out.print(f"[yellow]warning[/yellow]: {text}", soft_wrap=True)
