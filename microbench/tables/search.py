"""The end of a search: the fastest configuration, its command line and speedup, and what else was tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from microbench.analysis.search import SearchResult, Tried
from microbench.records.record import Status
from microbench.tables import units
from microbench.tables.compare import interval_text, ratio_text
from microbench.tables.fitting import print_fitting, printed
from microbench.tables.labels import count
from microbench.tables.warnings import show_problems

NOTE = (
    "speedup: relative to eager fp32. Rows with a CI use interleaved rounds; rows without one use a single "
    "round each. error: relative to the largest output. prepare: before the first call"
)


@dataclass(frozen=True, repr=False)
class SearchTable(SearchResult):
    """A search's result that prints as a table."""

    def __str__(self) -> str:
        return printed(lambda out: show_search(self, out))

    __repr__ = __str__


LABELS: dict[str, str] = {Status.SKIPPED: "not tried", Status.GIVEN_UP: "given up"}
"""A search's names for how a configuration ended, if not its status."""


def show_search(search: SearchResult, out: Console) -> None:
    """Print a search's result: a table of what was tried, the fastest, its command, and warnings."""
    print_fitting(out, search_table(search), less_wanted=("rounds", "prepare", "error", "95 % CI"))
    out.print(NOTE, style="dim", soft_wrap=True)
    for group in search.left_out:
        out.print(escape(left_out_text(group)), style="dim", soft_wrap=True)
    out.print()
    for line in answer(search):
        out.print(line, soft_wrap=True)
    show_problems(search.problems, out)
    out.print()


def search_table(search: SearchResult) -> Table:
    """Return one row per configuration that was tried: finalists first, then the others."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("configuration")
    for name in ("time", "speedup", "95 % CI", "error", "prepare", "rounds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for each in search.tried:
        if each.standing == Status.SKIPPED:
            continue
        style = "bold" if each is search.winner else "dim" if each.time is None else None
        table.add_row(escape(each.configuration), *_cells(each), _remark(each, search), style=style)
    return table


def _cells(each: Tried) -> tuple[str, ...]:
    error, whole = each.check.error_rel, each.case.whole
    return (
        "" if each.time is None or whole is None else units.median(whole),
        *_speedup(each),
        "" if error is None else units.error(error),
        "" if each.prepare is None else units.time(each.prepare),
        str(each.rounds),
    )


def _speedup(each: Tried) -> tuple[str, str]:
    if each.speedup is None:
        return "", ""
    ends = each.speedup.interval or (None, None)
    value = each.speedup.value
    return ratio_text(value, *ends), "" if ends[0] is None else interval_text(value, *ends)


def _remark(each: Tried, search: SearchResult) -> str:
    if each is search.baseline:
        return "plain eager"
    return "" if each.time is not None else LABELS.get(each.standing, each.standing)


def left_out_text(group: Sequence[Tried]) -> str:
    """Return the configurations without a time for one reason; those given up, each with its own."""
    standing, reason = group[0].standing, group[0].reason
    label = LABELS.get(standing, standing)
    if standing == Status.GIVEN_UP:
        return f"{label}: {'; '.join(f'{each.configuration} ({each.reason})' for each in group)}"
    return f"{label} ({reason}): {'; '.join(each.configuration for each in group)}"


def answer(search: SearchResult) -> list[str]:
    """Return the fastest configuration in words, and the command line that measures it again."""
    winner = search.winner
    fastest = f"[bold]fastest{' of what was tried' if search.is_partial else ''}[/bold]:"
    if all(each.standing == Status.SKIPPED for each in search.tried if each is not search.baseline):
        return [f"{fastest} unknown: nothing but plain eager was tried; raise experiment.budget"]
    if winner is search.baseline:
        return [f"{fastest} plain eager; nothing that was tried is faster"]
    name, (speedup, interval) = escape(winner.configuration), _speedup(winner)
    if winner.speedup is not None and winner.speedup.interval is None:
        return [
            f"{fastest} perhaps {name}: {speedup} times as fast as plain eager in one "
            "round each, which gives no CI: raise experiment.budget",
            f"  {escape(winner.case.spec.command)}",
        ]
    if winner.speedup is None or winner.speedup.interval is None or winner.speedup.interval[0] <= 1:
        return [
            f"{fastest} perhaps {name}, but not significantly faster than plain eager: "
            "raise experiment.budget"
        ]
    text = f"{fastest} {name}: {speedup} times as fast as plain eager"
    text += f" (95 % CI {interval}, {count(winner.finals, 'interleaved round')})"
    if (error := winner.check.error_rel) is not None:
        text += f"; error {units.error(error)} of the largest output, allowed {winner.check.tolerance:g}"
    return [text, f"  {escape(winner.case.spec.command)}"]
