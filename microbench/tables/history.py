"""A history of cases: their trends, the steps in them, and the runs of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from microbench.analysis.history import Change, Event, History, Point, Track, is_since
from microbench.analysis.quantities import MEMORY, Reading
from microbench.analysis.verdict import Verdict
from microbench.errors import unknown
from microbench.records.cases import CaseResult
from microbench.stats.steps import LEAST
from microbench.tables import units
from microbench.tables.compare import STYLES, interval_text, ratio_text
from microbench.tables.escaping import escape, markdown, markdown_row
from microbench.tables.export import reading_row
from microbench.tables.fitting import print_fitting
from microbench.tables.labels import count, machines
from microbench.tables.pivot import UNICODE, Glyphs, glyphs_of

FAIL_ON = (Verdict.SLOWER, Verdict.FASTER, Verdict.INCONCLUSIVE)
"""The verdicts on a case's latest change that a check can fail on."""

MOST_NAMES = 4  # of the cases of an event; more are counted
RESEMBLING = 0.1  # of the cases: fewer are by chance
MOST_POINTS = 40  # of a trend: the latest
NOT_MEASURED = " "  # in a trend


def show_history(found: History, out: Console, with_runs: bool) -> None:
    """Print a row per case with its trend, the changes in words, and the runs of each case if requested."""
    glyphs = glyphs_of(out.encoding)
    for line in header(found):
        out.print(escape(line), style="dim", soft_wrap=True)
    print_fitting(out, _summary(found, glyphs), less_wanted=("first",))
    if with_runs:
        for track in found.tracks:
            out.print(f"\n[bold]{escape(track.name)}, {escape(track.quantity)}[/bold]")
            print_fitting(out, _runs(track, glyphs))
    for event in found.events:
        out.print(f"[bold]{escape(when(event))}[/bold]", soft_wrap=True)
        for verdict, text in told(event):
            style = STYLES[verdict]
            out.print(f"  [{style}]{verdict}[/{style}] {escape(text)}", soft_wrap=True)
    for line in notes(found):
        out.print(escape(line), style="dim", soft_wrap=True)


def header(found: History) -> list[str]:
    """Return the machines as they were in the latest runs, and how many runs there are from when to when."""
    hosts = {track.points[-1].case.machine.host_id: track.points[-1].case for track in found.tracks}
    first, last = (each[:10] for each in found.dates)
    level = sorted(
        {p.reading.confidence for t in found.tracks for p in t.points if p.reading and p.reading.confidence}
    )
    parts = [first if first == last else f"{first} to {last}", count(found.runs, "run")]
    parts += [f"{' and '.join(map(units.level, level))} CI"] if level else []
    return [*machines(list(hosts.values())), " · ".join(parts)]


def _summary(found: History, glyphs: Glyphs) -> Table:
    """Return one row per case: its trend, its first and its latest value, and the verdict on the latter."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("case")
    for name in ("", "runs"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("trend", no_wrap=True)
    for name in ("first", "latest"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("latest change", no_wrap=True)
    for track in found.tracks:
        table.add_row(*map(escape, _cells(track, glyphs)))
    return table


def _cells(track: Track, glyphs: Glyphs) -> list[str]:
    first, latest = track.points[0], track.points[-1]
    trend = sparkline(track, glyphs)
    change = track.latest
    text = "no step" if track.is_searched else ""
    if change is not None:
        text = f"{change.verdict} {_over(change, glyphs)}"
    values = [value_text(each, track) for each in (first, latest)]
    return [track.name, track.quantity, str(len(track.points)), trend, *values, text]


def value_text(point: Point, track: Track) -> str:
    """Return the value of a run with the half-width of its interval, or how the run ended."""
    reading = point.reading
    if reading is None:
        return point.standing if point.standing != "ok" else "unknown"
    width = reading.relative_half_width
    return _value(reading, track) + ("" if width is None else f" ±{units.share(width)}")


def _value(reading: Reading, track: Track) -> str:
    if track.unit == "s":
        return units.time(reading.value, reading.half_width)
    if track.quantity == MEMORY:
        return units.memory(reading.value)
    if track.is_rate:
        return f"{units.rate(reading.value, reading.relative_half_width)} {track.unit}"
    return units.scaled(reading.value, track.unit)


def sparkline(track: Track, glyphs: Glyphs) -> str:
    """Return a character for each latest run: the lowest for the least value, the highest for the largest."""
    values = [None if each.reading is None else each.reading.value for each in track.points][-MOST_POINTS:]
    known = [each for each in values if each is not None]
    if not known:
        return ""
    low, span = min(known), max(known) - min(known)
    steps = len(glyphs.blocks) - 1
    heights = (None if each is None else round((each - low) / span * steps) if span else 0 for each in values)
    return "".join(NOT_MEASURED if each is None else glyphs.blocks[each] for each in heights)


def _runs(track: Track, glyphs: Glyphs) -> Table:
    """Return one row per run of a case: when, its value, whether a change begins there, what changed."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("date", no_wrap=True)
    table.add_column("run", no_wrap=True)
    table.add_column(track.quantity, justify="right", no_wrap=True)
    table.add_column("change", no_wrap=True)
    table.add_column("what differs from the run before")
    changes = {each.after: each for each in track.changes}
    for place, point in enumerate(track.points):
        change = changes.get(place)
        table.add_row(
            date(point.case),
            escape(point.case.run.id),
            value_text(point, track),
            "" if change is None else f"{change.verdict} {_over(change, glyphs)}",
            escape(changed_text(point.changed)),
        )
    return table


def date(case: CaseResult) -> str:
    """Return when a run began with a case, in UTC, to the minute."""
    return case.first.started_at[:16].replace("T", " ")


def _over(change: Change, glyphs: Glyphs = UNICODE) -> str:
    numbers = change.ratio, change.low, change.high
    interval = "" if change.low is None else f" ({interval_text(*numbers)})"
    return f"{glyphs.times}{ratio_text(*numbers)}{interval}"


def changed_text(changed: Mapping[str, tuple[str, str]]) -> str:
    """Return what changed, such as `torch 2.11 → 2.12, git commit of microbench abc → def`."""
    return ", ".join(f"{name} {before} → {after}" for name, (before, after) in changed.items())


def when(event: Event) -> str:
    """Return between which runs something changed, and which facts did."""
    before, after = (f"{each.run.id} ({date(each)})" for each in (event.before, event.after))
    what = changed_text(event.changed) or "nothing that the records tell"
    return f"between run {before} and run {after} changed: {what}"


def told(event: Event) -> list[tuple[Verdict, str]]:
    """Return the changes of an event in words, by verdict: each, or how many and their range."""
    found = []
    for verdict in Verdict:
        changes = [each for each in event.changes if each[1].verdict is verdict]
        if len(changes) <= MOST_NAMES:
            found += [(verdict, sentence(*each)) for each in changes]
        else:
            low, high = (f"{bound(change.ratio for _, change in changes):.2f}" for bound in (min, max))
            found.append((verdict, f"×{low} to ×{high}: {len(changes)} of {event.cases} cases"))
    return found


def sentence(track: Track, change: Change) -> str:
    """Return a change in words: its ratio, the case, and how sure it is."""
    p = "" if change.p is None else f"p {change.p:.2g}"
    before, after = change.runs
    of = f"{count(before, 'run')} before, {after} after, {p}" if change.is_step else p
    return f"{_over(change)}: {track.name}, {track.quantity}" + (f" ({of})" if of else "")


def notes(found: History) -> list[str]:
    """Return how to read the history."""
    texts = ["trend: a character per run, from the case's least value to its largest"]
    if any(len(track.points) > MOST_POINTS for track in found.tracks):
        texts[0] += f" of the latest {MOST_POINTS} runs"
    if any(track.is_searched for track in found.tracks):
        texts.append(
            "step: where the level of the runs changes; ×: the level after it over that before, with its "
            "95 % CI over runs. At most 5 % are false alarms, unless runs resemble the run before"
        )
    reasons = dict.fromkeys(
        p.unknown for track in found.tracks for p in track.points if p.unknown is not None
    )
    texts += [f"unknown: {reason}" for reason in reasons]
    resembling = [track.resemblance for track in found.tracks if track.resemblance is not None]
    if len(resembling) > RESEMBLING * len(found.tracks):
        texts.append(
            f"in {len(resembling)} of {count(len(found.tracks), 'case')} runs resemble the one before "
            f"(correlation up to {max(resembling):.2f}): the machine's speed wanders, and steps may be its"
            " own"
        )
    if any(track.changes and not track.is_searched for track in found.tracks):
        texts.append(
            f"fewer than {LEAST} runs: each is compared with the one before, ×: its value over that one's. "
            "Separate runs are not interleaved: what the machine did meanwhile is part of the difference"
        )
    return texts


def to_markdown(found: History) -> str:
    """Return the trends as a table in GitHub's markdown, and the changes in words."""
    heads = ("case", "", "runs", "trend", "first", "latest", "latest change")
    lines = [f"{markdown(line)}  " for line in header(found)]
    lines += ["", markdown_row(heads), f"|{' --- |' * len(heads)}"]
    lines += [markdown_row(map(markdown, _cells(track, UNICODE))) for track in found.tracks]
    lines += ["", *_events(found)]
    return "\n".join([*lines, *(f"- {markdown(each)}" for each in notes(found))]) + "\n"


def _events(found: History) -> Iterator[str]:
    for event in found.events:
        yield f"- {markdown(when(event))}"
        yield from (f"  - **{verdict}** {markdown(text)}" for verdict, text in told(event))


def rows(found: History) -> list[dict[str, Any]]:
    """Return one row per case and run, in SI units; where a change begins, with its ratio and verdict."""
    return [
        _row(track, point, next((each for each in track.changes if each.after == place), None))
        for track in found.tracks
        for place, point in enumerate(track.points)
    ]


def _row(track: Track, point: Point, change: Change | None) -> dict[str, Any]:
    reading, case = point.reading, point.case
    return {
        "case": track.name,
        "case_id": case.spec.id,
        "host_id": case.machine.host_id,
        "run_id": case.run.id,
        "started_at": case.first.started_at,
        "torch": case.machine.torch,
        "microbench": case.machine.microbench,
        "git": case.machine.git,
        "quantity": track.quantity,
        "unit": track.unit,
        "status": point.standing,
        **reading_row(reading),
        "changed": changed_text(point.changed),
        "is_step": change and change.is_step,
        "ratio": change and change.ratio,
        "ratio_ci_low": change and change.low,
        "ratio_ci_high": change and change.high,
        "p": change and change.p,
        "verdict": change and change.verdict,
        "reason": change and change.reason,
    }


def failing(found: History, on: str, since: datetime | None = None) -> list[str]:
    """Return the cases whose latest change has one of these verdicts, one line each.

    If a time is given, changes whose first run began before it do not count.

    Raises:
        UserError: there is no such verdict.
    """
    asked = [word.strip() for word in on.split(",")]
    for word in asked:
        if word not in FAIL_ON:
            raise unknown("verdict to fail on", word, FAIL_ON)
    return [
        f"{track.latest.verdict}: {sentence(track, track.latest)}"
        for track in found.tracks
        if track.latest is not None
        and track.latest.verdict in asked
        and (since is None or is_since(track, track.latest, since))
    ]
