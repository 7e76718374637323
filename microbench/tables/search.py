"""The end of a search: the fastest way, its command line and its speedup, and what else was tried."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from microbench.analysis.search import Found, Tried
from microbench.records.record import Status
from microbench.tables import units
from microbench.tables.compare import interval_text, ratio_text
from microbench.tables.fitting import print_fitting
from microbench.tables.labels import count
from microbench.tables.warnings import show_remarks

NOTE = (
    "speedup: relative to eager fp32. Rows with a CI use interleaved rounds; rows without one use a single "
    "screening round. error: relative to the largest output. prepare: before the first call"
)

LABELS: dict[str, str] = {Status.SKIPPED: "not tried", Status.GIVEN_UP: "given up"}
"""What a search calls how a way ended, where that is not its status."""


def show_search(search: Found, out: Console) -> None:
    """Print what a search found: a table of the ways, the fastest, its command, and what disturbed it."""
    print_fitting(out, search_table(search), less_wanted=("rounds", "prepare", "error", "95 % CI"))
    out.print(NOTE, style="dim", soft_wrap=True)
    for line in left_out(search):
        out.print(escape(line), style="dim", soft_wrap=True)
    out.print()
    for line in answer(search):
        out.print(line, soft_wrap=True)
    told = [search.baseline, *([] if search.winner is search.baseline else [search.winner])]
    show_remarks([each.case for each in told], out)
    out.print()


def search_table(search: Found) -> Table:
    """A row a way: those of the final, those that were dropped, and those that failed or were given up."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("configuration")
    for name in ("time", "speedup", "95 % CI", "error", "prepare", "rounds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for each in search.ways:
        if each.standing == Status.SKIPPED:
            continue
        style = "bold" if each is search.winner else "dim" if each.time is None else None
        table.add_row(escape(each.way), *_cells(each), _remark(each, search), style=style)
    return table


def _cells(each: Tried) -> tuple[str, ...]:
    prepare = each.case.estimates.get("prepare")
    error = each.check.error_rel
    return (
        "" if each.time is None else units.time(each.time),
        *_speedup(each),
        "" if error is None else f"{error:.1e}",
        "" if prepare is None else units.time(prepare.median),
        str(len(each.case.rounds)),
    )


def _speedup(each: Tried) -> tuple[str, str]:
    if each.speedup is None:
        return "", ""
    ends = each.speedup.interval or (None, None)
    value = each.speedup.value
    return ratio_text(value, *ends), "" if ends[0] is None else interval_text(value, *ends)


def _remark(each: Tried, search: Found) -> str:
    if each is search.baseline:
        return "plain eager"
    return "" if each.time is not None else LABELS.get(each.standing, each.standing)


def left_out(search: Found) -> list[str]:
    """The ways that have no time and why: a line a reason, and one for all that were given up."""
    groups: dict[str, list[str]] = {}
    for each in search.ways:
        if each.time is not None:
            continue
        label = LABELS.get(each.standing, each.standing)
        if each.standing == Status.GIVEN_UP:
            groups.setdefault(label, []).append(f"{each.way} ({each.reason})")
        else:
            groups.setdefault(f"{label} ({each.reason})", []).append(each.way)
    return [f"{group}: {'; '.join(ways)}" for group, ways in groups.items()]


def answer(search: Found) -> list[str]:
    """The fastest way in words, and the command line that measures it again."""
    winner = search.winner
    fastest = f"[bold]fastest{' of what was tried' if search.is_partial else ''}[/bold]:"
    if winner is search.baseline:
        return [f"{fastest} plain eager; nothing that was tried is faster"]
    speedup, interval = _speedup(winner)
    if winner.speedup is not None and winner.speedup.interval is None:
        return [
            f"{fastest} perhaps {escape(winner.way)}: {speedup} times as fast as plain eager in one "
            "round each, which gives no CI: raise experiment.budget",
            f"  {escape(winner.case.spec.command)}",
        ]
    if winner.speedup is None or winner.speedup.interval is None or winner.speedup.interval[0] <= 1:
        return [
            f"{fastest} perhaps {escape(winner.way)}, but not significantly faster than plain eager: "
            "raise experiment.budget"
        ]
    text = f"{fastest} {escape(winner.way)}: {speedup} times as fast as plain eager"
    text += f" (95 % CI {interval}, {count(winner.finals, 'round')} in turn)"
    if (error := winner.check.error_rel) is not None:
        text += f"; off by {error:.1e} of the largest output, allowed {winner.check.tolerance:g}"
    return [text, f"  {escape(winner.case.spec.command)}"]
