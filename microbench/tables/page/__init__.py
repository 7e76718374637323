"""A report as one self-contained HTML file: it opens from a disk and requests nothing.

Texts come from records, so each is escaped. A content security policy that allows nothing but this file's own
scripts and styles, by their digests, makes sure that nothing is requested and that no text runs.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import msgspec

from microbench.analysis.latest import LATEST
from microbench.analysis.page import CaseRow, Host, Page, SeriesSamples
from microbench.distribution import VERSION
from microbench.records.store import FILE_NAME
from microbench.tables import units
from microbench.tables.labels import count
from microbench.tables.page import words
from microbench.tables.page.charts import CHARTS, Chart, Table
from microbench.tables.sweep import interval_note

FOLDER = Path(__file__).parent
ECHARTS = "6.1.0"
"""The version of `vendor/echarts.min.js`, as npm's package `echarts` has it in `dist`."""

SCRIPTS = ("look", "charts", "drawing", "table", "samples", "page")
"""The files of `scripts/`, each after those that it needs when it is read."""

MOST_ANSWERS = 5  # on the first screen
UNSAFE = {ord(each): f"\\u{ord(each):04x}" for each in "<>&\u2028\u2029"}
"""What JSON may contain, and HTML or JavaScript would read as something else."""


def html(page: Page, paths: Sequence[str], tag: str | None = None) -> str:
    """Return a page as a file.

    Args:
        page: what it shows.
        paths: where its records are; its title.
        tag: what the server that refreshes it calls this state of it, which lets it connect to that server;
            None for a file.
    """
    style, library, script = _file("style.css"), _file("vendor/echarts.min.js"), _script()
    policy = [
        "default-src 'none'",
        f"script-src {_digest(library)} {_digest(script)}",
        f"style-src {_digest(style)}",
        "img-src data:",
        *([] if tag is None else ["connect-src 'self'"]),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return Template(_file("template.html")).substitute(
        policy="; ".join(policy),
        version=escape(VERSION),
        echarts=ECHARTS,
        title=escape(title(paths)),
        subtitle=escape(subtitle(page)),
        style=style,
        main=main(page),
        data=data(page, tag),
        library=library,
        script=script,
    )


def fragment(page: Page, tag: str) -> str:
    """Return what a served page takes over when its records have changed, as JSON."""
    fresh = {"main": main(page), "subtitle": subtitle(page), "data": content(page, tag)}
    return msgspec.json.encode(fresh).decode()


def title(paths: Sequence[str]) -> str:
    """Return a page's title: the folders of its runs, of which it names the first."""
    first, *others = paths
    more = f" and {len(others)} more" if others else ""
    return f"microbench: {Path(first).parent if Path(first).name == FILE_NAME else first}{more}"


@cache
def _file(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _script() -> str:
    """Return the page's script: the files of `scripts/` in one function, so that their names are its own."""
    parts = "\n".join(_file(f"scripts/{name}.js") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def subtitle(page: Page) -> str:
    """Return how much was measured, and when."""
    if not page.rows:
        return "No records yet."
    rounds = sum(host.rounds for host in page.hosts)
    days = sorted({day for host in page.hosts for day in (host.first[:10], host.last[:10])})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    parts = [count(len(page.rows), "case"), count(rounds, "round"), when]
    if len(page.hosts) > 1:
        parts.append(count(len(page.hosts), "machine"))
    return " · ".join([*parts, *(host.machine.cpu or "" for host in page.hosts[:1])])


SECTIONS = {
    "answer": "What is fastest",
    "latency": "Latency",
    "phases": "Phases",
    "cases": "All cases",
    "samples": "Samples",
    "memory": "Memory",
    "accuracy": "Accuracy",
    "roofline": "Roofline",
    "layers": "Layers",
    "published": "Published",
    "warnings": "Warnings",
    "machine": "Machine",
    "missing": "Not shown",
}
"""The sections by their place in the address, in order, as the list of contents names them."""


def main(page: Page) -> str:
    """Return the content of a page, which is readable without JavaScript."""
    if not page.rows:
        return '<section id="answer"><p class="lead">There are no records yet.</p></section>'
    contents = {
        "answer": _answers(page),
        **{chart.name: _plot(chart, page) for chart in CHARTS if _has(chart, page) and not chart.is_first},
        "cases": _cases(page),
        "samples": _file("samples.html"),
        "warnings": _problems(page),
        "machine": "".join(map(_host, page.hosts)),
        "missing": _missing(page),
    }
    titles = SECTIONS | {chart.name: chart.title for chart in CHARTS} | TITLES
    sections = [
        f'<section id="{name}"><h2>{escape(titles[name])}</h2>{contents[name]}</section>'
        for name in SECTIONS
        if contents.get(name)
    ]
    links = "".join(f'<a href="#{name}">{SECTIONS[name]}</a>' for name in SECTIONS if contents.get(name))
    return "\n".join([f'<nav aria-label="Sections">{links}</nav>', *sections])


TITLES = {
    "samples": "Samples of a series",
    "warnings": "Failures and warnings",
    "machine": "Machine and environment",
}
"""The headings of sections that the list of contents gives a shorter name."""


def _has(chart: Chart, page: Page) -> bool:
    return bool(getattr(page.charts, chart.name))


def _missing(page: Page) -> str:
    """Return the charts without data, and what would fill each; nothing if all have some."""
    items = "".join(
        f"<li>{escape(chart.title)}: {escape(chart.missing)}.</li>"
        for chart in CHARTS
        if not _has(chart, page)
    )
    return items and f'<ul class="empty">{items}</ul>'


def _pieces(pieces: Iterable[words.Piece]) -> str:
    return "".join(f"<strong>{escape(text)}</strong>" if strong else escape(text) for strong, text in pieces)


def _answers(page: Page) -> str:
    """Return the first screen: what is fastest, by how much, and how sure that is; then the chart of it."""
    decided_first = sorted(page.answers, key=lambda answer: bool(answer.undecided))
    sentences = [_pieces(words.sentence(answer)) for answer in decided_first]
    sentences += [_pieces(words.alone(each)) for each in page.alone]
    items = [f"<li>{sentence}</li>" for sentence in sentences]
    rest = items[MOST_ANSWERS:]
    more = (
        f'<details><summary>{len(rest)} more</summary><ul class="answers">{"".join(rest)}</ul></details>'
        if rest
        else ""
    )
    repeated = (
        f'<p class="note">{count(page.charts.repeated, "measurement")} left out here and in the charts: '
        f"{LATEST}; the table has all.</p>"
        if page.charts.repeated
        else ""
    )
    lead = words.headline(page.answers, page.alone)
    charts = "".join(_plot(chart, page) for chart in CHARTS if chart.is_first and _has(chart, page))
    return (f'<p class="lead">{escape(lead)}</p>' if lead else "") + (
        f'<ul class="answers">{"".join(items[:MOST_ANSWERS])}</ul>{more}{repeated}{charts}'
    )


def _plot(chart: Chart, page: Page) -> str:
    """Return a chart's place, how to read it, and its numbers as a table."""
    label = f"{chart.title}. Its numbers are in the table below."
    return (
        f'<p class="note">{escape(chart.note)}</p>'
        f'<div class="controls" data-controls="{chart.name}" hidden></div>'
        f'<div class="plot-box"><div class="plot" data-chart="{chart.name}" role="img" '
        f'aria-label="{escape(label)}"></div></div><details><summary>The numbers of this chart</summary>'
        f"{_table(chart.table(getattr(page.charts, chart.name)))}</details>"
    )


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{_number(is_number)}>{escape(name)}</th>' for name, is_number in table.columns
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_number(is_number)}>{escape(cell)}</td>"
            for cell, (_, is_number) in zip(row, table.columns, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    return _scroll(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", table.caption)


def _scroll(table: str, label: str) -> str:
    """Return a table that scrolls in itself, which the keyboard can reach."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'


def _number(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


@dataclass(frozen=True)
class Column:
    """A column of the table of cases.

    Attributes:
        name: its heading.
        text: what a cell shows.
        value: what it is sorted by; None for its text.
        is_filter: whether one chooses among its values.
        mark: a cell's class.
    """

    name: str
    text: Callable[[CaseRow], str]
    value: Callable[[CaseRow], float | None] | None = None
    is_filter: bool = False
    mark: Callable[[CaseRow], str] = lambda _: ""


COLUMNS = (
    Column(
        "median",
        lambda row: "" if row.time is None else words.median_of(row.time),
        lambda row: None if row.time is None else row.time.seconds,
        mark=lambda row: "" if row.is_valid else "invalid",
    ),
    Column(
        "interval",
        lambda row: "" if row.time is None else words.interval_of(row.time),
        lambda row: None if row.time is None else row.time.low,
    ),
    Column("phase", lambda row: row.phase, is_filter=True),
    Column(
        "±",
        lambda row: "" if row.half_width is None else units.share(row.half_width),
        lambda row: row.half_width,
    ),
    Column(
        "items/s",
        lambda row: "" if row.throughput is None else units.rate(row.throughput, row.half_width),
        lambda row: row.throughput,
    ),
    Column(
        "peak memory",
        lambda row: "" if row.memory is None else units.memory(row.memory),
        lambda row: row.memory,
    ),
    Column("error", lambda row: "" if row.error is None else units.error(row.error), lambda row: row.error),
    Column(
        "rounds",
        lambda row: "" if row.time is None else str(row.time.rounds),
        lambda row: None if row.time is None else row.time.rounds,
    ),
)


def _cases(page: Page) -> str:
    settings = [
        Column(name, lambda row, name=name: row.settings[name], _numeric(page, name), is_filter=True)  # type: ignore[misc]
        for name in page.settings
    ]
    ended = Column(
        "status",
        lambda row: row.standing,
        is_filter=True,
        mark=lambda row: "" if row.standing == "ok" else "bad",
    )
    warned = Column("warnings", lambda row: ", ".join(row.warnings), mark=lambda row: "doubt")
    items = {row.item for row in page.rows if row.throughput is not None}
    columns = [*settings, *COLUMNS, ended, warned]
    names = [
        f"{items.copy().pop()}/s" if each.name == "items/s" and len(items) == 1 else each.name
        for each in columns
    ]
    head = "".join(
        f'<th scope="col"{_number(each.value is not None)}{" data-filter" if each.is_filter else ""}>'
        f"{escape(name)}</th>"
        for each, name in zip(columns, names, strict=True)
    )
    body = "".join(
        f'<tr data-key="{escape(row.key)}">{"".join(_cell(each, row) for each in columns)}</tr>'
        for row in page.rows
    )
    table = f'<table id="table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    note = Template(_file("cases.html")).substitute(
        interval=escape(interval_note(page.intervals) or "no intervals")
    )
    return note + _scroll(table, "All cases")


def _numeric(page: Page, name: str) -> Callable[[CaseRow], float | None] | None:
    """Return what a setting is sorted by: its number, if all values are numbers."""
    try:
        numbers = {row.settings[name]: float(row.settings[name]) for row in page.rows}
    except ValueError:
        return None
    return lambda row: numbers[row.settings[name]]


def _cell(column: Column, row: CaseRow) -> str:
    marks = " ".join(filter(None, ["number" if column.value else "", column.mark(row)]))
    value = column.value(row) if column.value else None
    attributes = {
        "class": marks,
        "data-value": "" if value is None or not math.isfinite(value) else f"{value:.9g}",
        "title": row.reason or "" if column.name == "status" else "",
    }
    told = "".join(f' {name}="{escape(text)}"' for name, text in attributes.items() if text)
    return f"<td{told}>{escape(column.text(row))}</td>"


def _problems(page: Page) -> str:
    """Return what failed, and every kind of warning with its cases."""
    failures = [
        f'<li><span class="bad">{escape(each.status)}</span>: '
        f"{escape(f'{each.case}: ' if each.case else '')}{escape(each.error)}</li>"
        for each in page.problems.failures
    ]
    warnings = [
        f'<li><span class="doubt">{escape(each.code)}</span>: '
        f"{len(each.cases)} of {count(each.total, 'case')}: {escape(each.text)}"
        f"{escape(f' (the worst: {each.worst})' if each.worst else '')}</li>"
        for each in page.problems.warnings
    ]
    found = "".join([*failures, *warnings])
    return f'<ul class="warnings">{found}</ul>' if found else '<p class="empty">None.</p>'


def _host(host: Host) -> str:
    name = " · ".join(filter(None, [host.machine.gpu, host.machine.cpu])) or host.machine.host_id
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in _facts(host))
    return f"<h3>{escape(name)}</h3><dl>{facts}</dl>"


def _facts(host: Host) -> Iterator[tuple[str, str]]:
    """Yield the known facts on a machine, each with its name and unit."""
    machine = host.machine
    known: dict[str, Any] = {
        "host": machine.host_id,
        "cores": machine.physical_cores,
        "CPUs": machine.usable_cpus,
        "CPU quota": None if machine.cpu_quota is None else f"{machine.cpu_quota:g} CPUs",
        "memory": None if machine.memory is None else units.memory(machine.memory),
        "vector instructions": machine.cpu_capability,
        "system": machine.os,
        "hypervisor": machine.hypervisor,
        "frequency governor": machine.governor,
        "turbo": None if machine.turbo is None else "on" if machine.turbo else "off",
        "GPU memory": None if machine.gpu_memory is None else units.memory(machine.gpu_memory),
        "GPU power limit": None if machine.gpu_power_limit is None else f"{machine.gpu_power_limit:g} W",
        **{name: ", ".join(each) for name, each in host.versions.items()},
        "threads": ", ".join(map(str, host.threads)),
        "allocator": ", ".join(host.allocators),
        "measured": f"{host.first[:19]} to {host.last[:19]} UTC",
        "cases and rounds": f"{count(host.cases, 'case')}, {count(host.rounds, 'round')}",
    }
    yield from ((name, str(value)) for name, value in known.items() if value not in (None, ""))
    for run, line in host.runs.items():
        yield f"run {run}", line or "from Python"


def data(page: Page, tag: str | None) -> str:
    """Return what the page's script draws, as JSON that can stand in HTML."""
    return msgspec.json.encode(content(page, tag)).decode().translate(UNSAFE)  # what is not finite is null


def content(page: Page, tag: str | None) -> dict[str, Any]:
    """Return what the page's script draws."""
    return {
        "charts": {chart.name: _panels(chart, page) for chart in CHARTS},
        "configurations": _configurations(page),
        "names": {row.key: _name(row) for row in page.rows},
        "series": _packed(page.series),
        "warnings": _warnings(page.series),
        "tag": tag,
    }


def _panels(chart: Chart, page: Page) -> list[dict[str, Any]]:
    """Return a chart's panels, each with the units of its axes."""
    return [
        {**msgspec.to_builtins(panel), "axes": chart.axes(panel)}
        for panel in getattr(page.charts, chart.name)
    ]


def _configurations(page: Page) -> list[str]:
    """Return the names that have a colour of their own, in the same order in every chart."""
    names = [line.configuration for panel in page.charts.latency for line in panel.lines]
    names += [line.configuration for panel in page.charts.memory for line in panel.lines]
    names += [name for panel in page.charts.speedup for group in panel.groups for name in (group.baseline,)]
    names += [
        bar.configuration for panel in page.charts.speedup for group in panel.groups for bar in group.bars
    ]
    names += [point.configuration for panel in page.charts.accuracy for point in panel.points]
    return list(dict.fromkeys(names))


def _name(row: CaseRow) -> str:
    """Return a case's name: model and mode, then what else distinguishes it."""
    rest = [f"{name}={value}" for name, value in row.settings.items() if name not in ("model", "mode")]
    return ", ".join([f"{row.settings['model']} {row.settings['mode']}", *rest])


def _warnings(series: Iterable[SeriesSamples]) -> list[tuple[str, str]]:
    """Return the different warnings of all series."""
    return list(dict.fromkeys(each for one in series for each in one.warnings))


def _packed(series: Sequence[SeriesSamples]) -> dict[str, dict[str, list[list[Any]]]]:
    """Return the series by case and phase: round, samples, calls per sample, warnings, whether they count."""
    places: Mapping[tuple[str, str], int] = {each: place for place, each in enumerate(_warnings(series))}
    found: dict[str, dict[str, list[list[Any]]]] = {}
    for each in series:
        row = [
            each.round,
            packed(each.samples),
            each.calls_per_sample,
            [places[warning] for warning in each.warnings],
            int(each.counts),
        ]
        found.setdefault(each.key, {}).setdefault(each.phase, []).append(row)
    return found


def packed(samples: Sequence[float]) -> str:
    """Return samples as the three upper bytes of 32-bit floats, in Base64: four characters each.

    They have five significant digits: 15 bits of mantissa, rounded, are off by at most 1.5e-5 of the value.
    """
    import numpy as np

    bits = np.asarray(samples, "<f4").view("<u4")
    rounded = ((bits.astype(np.uint64) + 0x80) >> 8).astype("<u4")
    return b64encode(rounded.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()).decode()
