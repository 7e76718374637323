"""The tables that a run ends with: one case's phases as rows, or a sweep's cases as rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from microbench.reports import units
from microbench.results.result import Record, Result

PHASES = ("forward", "loss", "backward", "update", "total", "inference")
WHOLE = ("total", "inference")
Case = Sequence[Record]
"""The records of one case."""

UNLIMITED = 1000  # characters: wider than any table
LEAST_LOSS = 0.01  # of the total: a smaller loss phase is not shown
STOP_TEXTS = {
    "rel_ci": "the interval is narrow enough (measure.rel_ci)",
    "max_time": "time was up (measure.max_time)",
    "max_samples": "samples enough (measure.max_samples)",
}


def console(width_in_pipe: int = UNLIMITED) -> Console:
    """A console on standard output; in a pipe it is so wide that no row is cut."""
    found = Console(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")
    if not found.is_terminal:
        found.width = width_in_pipe
    return found


def show(result: Result, out: Console) -> None:
    """Print a result: the machine, a table, warnings, and where the records are."""
    cases = result.cases()
    if not cases:
        return
    out.print(escape(machine(cases)), style="dim")
    if len(cases) == 1:
        _show_case(cases[0], out)
    else:
        out.print(sweep_table(cases, out))
    _show_remarks(cases, out)
    out.print(
        f"records: {escape(relative(result.path))} ({len(result.records)} series)",
        style="dim",
        soft_wrap=True,
    )


def relative(path: Path) -> str:
    """A path as it is from here, where it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def machine(cases: Sequence[Case]) -> str:
    """The machine and the software that all cases ran on, on one line."""
    record = cases[0][0]
    threads = {case[0]["cfg_threads"] for case in cases}
    env = {key.removeprefix("env_"): value for key, value in record.items() if key.startswith("env_")}
    parts = [
        env.get("gpu"),
        f"{env['cpu']}, {_count(env['physical_cores'], 'core')}",
        _count(threads.pop(), "thread") if len(threads) == 1 else None,
        f"torch {env['torch']}",
        f"Python {env['python']}",
        f"{env['allocator']} malloc",
        env["os"],
    ]
    return " · ".join(str(part) for part in parts if part)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def label(record: Record) -> str:
    """What a case is, on one line."""
    settings = f"batch {record['cfg_batch_size']}, {record['cfg_precision']}, {record['cfg_engine']}"
    return f"{record['cfg_model']} {record['cfg_mode']}, {settings}, {record['cfg_device']}"


def labels(cases: Sequence[Case]) -> list[str]:
    """What each case of a sweep is: model, mode, and what varies."""
    settings = varying(cases)
    return [
        ", ".join(
            [
                f"{case[0]['cfg_model']} {case[0]['cfg_mode']}",
                *(f"{name}={values[index]}" for name, values in settings.items()),
            ]
        )
        for index, case in enumerate(cases)
    ]


def items(record: Record) -> str:
    """What a batch consists of."""
    return "items" if record["config"]["model"]["source"] == "layer" else "images"


def throughput(record: Record) -> float | None:
    """Items per second: the batch over the median time."""
    median = record["median"]
    return record["cfg_batch_size"] / median if median else None


def half_width_of(record: Record) -> float | None:
    """Half the interval's width in seconds."""
    if record["ci_low"] is None or record["ci_high"] is None:
        return None
    return float(record["ci_high"] - record["ci_low"]) / 2


def relative_half_width(record: Record) -> float | None:
    """Half the interval's width as a share of the median; None without an interval, or a median of zero."""
    half_width = half_width_of(record)
    return half_width / record["median"] if half_width is not None and record["median"] else None


def _by_phase(records: Iterable[Record]) -> dict[str, Record]:
    return {record["phase"]: record for record in records if record["median"] is not None}


def shown_phases(series: Mapping[str, Record]) -> list[str]:
    """The phases to show, in their order: the loss only where it is more than 1 % of the total."""
    loss, total = series.get("loss"), series.get("total")
    hide_loss = loss is not None and total is not None and loss["median"] <= LEAST_LOSS * total["median"]
    return [phase for phase in PHASES if phase in series and not (phase == "loss" and hide_loss)]


def _show_case(records: Sequence[Record], out: Console) -> None:
    first, series = records[0], _by_phase(records)
    shape = "x".join(filter(None, (str(first["cfg_batch_size"]), first["cfg_input_shape"])))
    dtype = first["config"]["model"]["input_dtype"]
    out.print(
        f"[bold]{escape(label(first))}[/bold], input {shape}" + (f" {dtype}" if dtype != "float32" else "")
    )
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
        median, half_width, share = record["median"], half_width_of(record), relative_half_width(record)
        low, high = record["ci_low"], record["ci_high"]
        table.add_row(
            phase,
            units.time(median, half_width),
            units.interval(low, high, median) if half_width is not None else "too few samples",
            units.share(share) if share is not None else "",
            _rate(record) if phase in WHOLE else "",
            str(record["n"]),
            style="bold" if phase in WHOLE else None,
        )
    return table


def _rate(record: Record) -> str:
    value = throughput(record)
    return "" if value is None else units.rate(value, relative_half_width(record))


def _facts(series: Mapping[str, Record]) -> str:
    whole = next(series[phase] for phase in WHOLE if phase in series)
    facts = []
    if whole["peak_memory"] is not None:
        facts.append(f"peak memory {units.memory(whole['peak_memory'])}")
    if whole["calls_per_sample"] > 1:
        facts.append(f"{whole['calls_per_sample']} calls a sample")
    facts.append(f"stopped: {STOP_TEXTS[whole['stop_reason']]}")
    facts.append(f"warm-up {_count(len(whole['warmup']), 'step')}")
    if first_call := series.get("first_call"):
        facts.append(f"first call {units.time(first_call['median'])}")
    return " · ".join(facts)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A configuration's values as text, by dotted key."""
    found: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = str(value)
    return found


def varying(cases: Sequence[Case]) -> dict[str, list[str]]:
    """The settings that tell the rows of a sweep apart, besides model and mode: by name, each case's value.

    These are the axes that differ; where they leave two cases alike, every other setting that differs too.
    """
    first = [case[0] for case in cases]
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


@dataclass
class Row:
    """A row of a sweep's table: the phases of a model's cases of all modes, and how these ended."""

    series: dict[str, Record] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)  # by mode


def sweep_rows(cases: Sequence[Case], settings: Mapping[str, Sequence[str]]) -> dict[tuple[str, ...], Row]:
    """The rows by model and settings; a second run of the very same case gets a row of its own."""
    rows: dict[tuple[str, ...], Row] = {}
    for index, case in enumerate(cases):
        key = (case[0]["cfg_model"], *(values[index] for values in settings.values()))
        mode = case[0]["cfg_mode"]
        while mode in rows.get(key, Row()).statuses:
            key = (*key, "")
        row = rows.setdefault(key, Row())
        row.series |= _by_phase(case)
        row.statuses[mode] = case[0]["status"]
    return rows


def sweep_table(cases: Sequence[Case], out: Console) -> Table:
    """A row for each model and setting, with a column a phase, its modes side by side.

    On a narrow terminal the columns that matter least are left out, so that the others stay whole.
    """
    settings = varying(cases)
    rows = sweep_rows(cases, settings)
    for extras in (("interval", "rate", "memory"), ("interval", "rate"), ("interval",), ()):
        table = _sweep_table(list(settings), rows, extras)
        if out.measure(table, options=out.options.update(max_width=UNLIMITED)).maximum <= out.width:
            break
    return table


def _sweep_table(
    settings: Sequence[str], rows: Mapping[tuple[str, ...], Row], extras: Container[str]
) -> Table:
    phases = [phase for phase in PHASES if any(phase in shown_phases(row.series) for row in rows.values())]
    wholes = [phase for phase in WHOLE if phase in phases]
    columns: list[tuple[str, Callable[[Row], str]]] = [
        (phase, partial(_time_cell, phase=phase, interval="interval" in extras)) for phase in phases
    ]
    nouns = {items(record) for row in rows.values() for record in row.series.values()}
    noun = nouns.pop() if len(nouns) == 1 else "items"
    for name, kind, cell in ((f"{noun}/s", "rate", _rate), ("memory", "memory", _memory)):
        if kind in extras:
            columns += [(f"{phase} {name}", partial(_cell_of, phase=phase, cell=cell)) for phase in wholes]
    if any(status != "ok" for row in rows.values() for status in row.statuses.values()):
        columns.append(("status", lambda row: ", ".join(dict.fromkeys(row.statuses.values()))))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model")
    for name in (*settings, *(name for name, _ in columns)):
        table.add_column(name, justify="right")
    for key, row in rows.items():
        table.add_row(*map(escape, key[: 1 + len(settings)]), *(cell(row) for _, cell in columns))
    return table


def _cell_of(row: Row, phase: str, cell: Callable[[Record], str]) -> str:
    return cell(row.series[phase]) if phase in row.series else ""


def _time_cell(row: Row, phase: str, interval: bool) -> str:
    return _cell_of(row, phase, _time_and_interval if interval else _time)


def _time(record: Record) -> str:
    return units.time(record["median"], half_width_of(record))


def _time_and_interval(record: Record) -> str:
    share = relative_half_width(record)
    return _time(record) + ("" if share is None else f" ±{units.share(share)}")


def _memory(record: Record) -> str:
    return units.memory(record["peak_memory"]) if record["peak_memory"] is not None else ""


def _show_remarks(cases: Sequence[Case], out: Console) -> None:
    """Errors and warnings, each with the case it is of where there are several."""
    for case, name in zip(cases, labels(cases), strict=True):
        first = case[0]
        prefix = f"{name}: " if len(cases) > 1 else ""
        if first["status"] != "ok":
            out.print(f"[red]{first['status']}[/red]: {escape(prefix + first['error'])}", soft_wrap=True)
        for warning in first["warnings"]:
            text = f"{prefix}{warning['message']} [{warning['code']}]"
            out.print(f"[yellow]warning[/yellow]: {escape(text)}", soft_wrap=True)
