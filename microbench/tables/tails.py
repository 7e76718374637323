"""The table of percentiles: one row per case, phase and percentile."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from microbench.analysis.tails import TailRow, Tails
from microbench.stats.percentiles import MOST_ROUNDS, Percentile
from microbench.tables import units
from microbench.tables.escaping import escape
from microbench.tables.fitting import print_fitting
from microbench.tables.labels import count

NONE = "percentiles: none, because no phase of a training step or of inference was sampled"


def show_tails(tails: Tails | None, out: Console) -> None:
    """Print the percentiles, and which question each column answers."""
    if tails is None:
        out.print(NONE, style="dim")
        return
    with_typical = any(row.typical is not None for row in tails.rows)
    variants = [_table(tails, each) for each in dict.fromkeys((with_typical, False))]
    print_fitting(out, *variants)
    out.print(escape(_note(tails, with_typical)), style="dim", soft_wrap=True)
    if tails.calls_per_sample[1] > 1:
        out.print(
            f"a sample is the mean of {_range(tails.calls_per_sample)} calls, so these are not percentiles "
            "of single calls: measure.percentile=99 times each call by itself",
            soft_wrap=True,
        )


def _table(tails: Tails, with_typical: bool) -> Table:
    several = any(row.case for row in tails.rows)
    lacking = any(needs(row.over_calls) for row in tails.rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    if several:
        table.add_column("case")
    table.add_column("phase", no_wrap=True)
    for name in ("percentile", "over all calls", "95 % CI"):
        table.add_column(name, justify="right")
    if with_typical:
        level = min(row.typical.confidence for row in tails.rows if row.typical is not None)
        for name in ("typical process", f"{units.level(level)} CI"):
            table.add_column(name, justify="right")
    if lacking:
        table.add_column("for both ends")
    before: tuple[str, ...] = ()
    for row in tails.rows:
        telling = (*([escape(row.case)] if several else []), row.phase)
        found = row.over_calls
        table.add_row(
            *(telling if telling != before else [""] * len(telling)),
            found.name,
            *_time_and_ends(found.value, found.low, found.high),
            *(_typical(row) if with_typical else ()),
            *([needs(found)] if lacking else []),
        )
        before = telling
    return table


def _time_and_ends(value: float | None, low: float | None, high: float | None) -> tuple[str, str]:
    """Format a time and its interval, of which an end may be missing, with the digits of the nearer end."""
    around = next((each for each in (value, low, high) if each is not None), None)
    if around is None:
        return "", "none"
    half_width = min((abs(end - around) for end in (low, high) if end not in (None, around)), default=None)
    start, end = (None if each is None else units.time(each, half_width, around) for each in (low, high))
    time = "" if value is None else units.time(value, half_width)
    if start and end:
        return time, f"{start.partition(' ')[0]} – {end}"
    return time, f"≥ {start}" if start else f"≤ {end}" if end else "none"


def _typical(row: TailRow) -> tuple[str, str]:
    found = row.typical
    return ("", "") if found is None else _time_and_ends(found.median, found.low, found.high)


def needs(found: Percentile) -> str:
    """Return what both ends take, such as `needs about 240 more samples`; empty if they are there."""
    if found.more_rounds is not None:
        most = found.more_rounds >= MOST_ROUNDS
        return f"needs {'>' if most else 'about '}{count(found.more_rounds, 'more round')}"
    if found.more_samples is not None:
        return f"needs about {float(f'{found.more_samples:.2g}'):,.0f} more samples"
    return ""


def _note(tails: Tails, with_typical: bool) -> str:
    if tails.rounds[1] == 1:
        return "over all calls: of one process, which says nothing of how processes differ"
    text = f"over all calls: of {_range(tails.rounds)} rounds with the same weight each"
    return text + ("; typical process: median of the rounds' percentiles" if with_typical else "")


def _range(ends: tuple[int, int]) -> str:
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
