"""The end of a search: the best configuration, its command line and speedup, and what else was tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from microbench.analysis.search import SearchResult, Tried
from microbench.config import THROUGHPUT
from microbench.records.record import Status
from microbench.stats.ratio import LEVEL
from microbench.tables import labels, units
from microbench.tables.compare import interval_text, ratio_text
from microbench.tables.escaping import escape
from microbench.tables.fitting import print_fitting, printed
from microbench.tables.labels import DISTURBED, count
from microbench.tables.warnings import show_problems

NOTE = (
    "{ratio}. Rows with a CI use interleaved rounds; rows without one use a single round each. error: "
    "relative to the largest output. memory: peak, without what was there before the model was built. "
    "prepare: before the first call. break-even: calls after which the total time is plain eager's"
)


@dataclass(frozen=True)
class Wording:
    """How the result of a search for an objective is worded.

    Attributes:
        title: what the winner is.
        column: the header of the ratios.
        ratio: what they are.
        than: the ratio in the answer, between its value and plain eager.
        adjective: what the winner is more of than the others.
        figure: the header of the column with what is compared; empty if another column has it.
    """

    title: str
    column: str
    ratio: str
    than: str
    adjective: str
    figure: str = ""


WORDINGS = {
    "latency": Wording("fastest", "speedup", "speedup: relative to eager fp32", "times as fast as", "faster"),
    THROUGHPUT: Wording(
        "most items per second",
        "speedup",
        "speedup: items per second relative to eager fp32",
        "times the throughput of",
        "faster",
        "items/s",
    ),
    "memory": Wording(
        "least memory",
        "saving",
        "saving: peak memory of eager fp32 relative to this",
        "times less memory than",
        "smaller",
    ),
    "p99": Wording(
        "lowest p99",
        "speedup",
        "speedup: p99 of eager fp32 relative to this; p99: the 99th percentile of a process, their median",
        "times as fast at p99 as",
        "faster",
        "p99",
    ),
}


@dataclass(frozen=True, repr=False)
class SearchTable(SearchResult):
    """A search's result that prints as a table."""

    def __str__(self) -> str:
        return printed(lambda out: show_search(self, out))

    __repr__ = __str__


CERTAIN = 2.0
"""A configuration that is better than plain eager by this factor in each round of two or more is better,
whatever the CI: in simulations, a single round is so by chance in 4 of 1,000 cases.
"""

MOST_NAMES = 12  # of configurations that were not tried for one reason

LABELS: dict[str, str] = {Status.SKIPPED: "not tried", Status.GIVEN_UP: "given up"}
"""A search's names for how a configuration ended, if not its status."""


def show_search(search: SearchResult, out: Console) -> None:
    """Print a search's result: a table of what was tried, the fastest, its command, and warnings."""
    hidden_first = ("rounds", "prepare", "memory", "break-even", "error", "95 % CI")
    print_fitting(out, search_table(search), less_wanted=hidden_first)
    out.print(NOTE.format(ratio=WORDINGS[search.objective].ratio), style="dim", soft_wrap=True)
    for group in search.left_out:
        out.print(escape(left_out_text(group)), style="dim", soft_wrap=True)
    if text := disturbed_text(search.tried):
        out.print(escape(text), style="dim", soft_wrap=True)
    out.print()
    for line in answer(search):
        out.print(line, soft_wrap=True)
    show_problems(search.problems, out)
    out.print()


def search_table(search: SearchResult) -> Table:
    """Return one row per configuration that was tried: finalists first, then the others."""
    wording = WORDINGS[search.objective]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("configuration")
    shown = [wording.figure] if wording.figure else []
    for name in (
        "time",
        *shown,
        wording.column,
        "95 % CI",
        "error",
        "memory",
        "prepare",
        "break-even",
        "rounds",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for each in search.tried:
        if each.standing == Status.SKIPPED:
            continue
        style = "bold" if each is search.winner else "dim" if each.time is None else None
        table.add_row(escape(each.configuration), *_cells(each, search), _remark(each, search), style=style)
    return table


def _cells(each: Tried, search: SearchResult) -> tuple[str, ...]:
    error, whole, speedup = each.check.error_rel, each.case.whole, each.speedup
    is_slower = speedup is not None and speedup.value <= 1
    return (
        "" if each.time is None or whole is None else units.median(whole),
        *([_figure(each, search.objective)] if WORDINGS[search.objective].figure else ()),
        *_speedup(each),
        "" if error is None else units.error(error),
        "" if each.memory is None else units.memory(each.memory),
        "" if each.prepare is None else units.time(each.prepare),
        "" if each.break_even is None or is_slower else f"{each.break_even:,}",
        str(each.rounds),
    )


def _figure(each: Tried, objective: str) -> str:
    if each.figure is None:
        return ""
    return units.rate(1 / each.figure) if objective == THROUGHPUT else units.time(each.figure)


def _speedup(each: Tried) -> tuple[str, str]:
    if each.speedup is None:
        return "", ""
    ends = each.speedup.interval or (None, None)
    value = each.speedup.value
    return ratio_text(value, *ends), "" if ends[0] is None else interval_text(value, *ends)


def _remark(each: Tried, search: SearchResult) -> str:
    if each is search.baseline:
        return "plain eager"
    if each.is_tied:
        return "may be as good"
    return "" if each.time is not None else LABELS.get(each.standing, each.standing)


def left_out_text(group: Sequence[Tried]) -> str:
    """Return the configurations without a time for one reason; those given up, each with its own."""
    standing, reason = group[0].standing, group[0].reason
    label = LABELS.get(standing, standing)
    if standing == Status.GIVEN_UP:
        return f"{label}: {'; '.join(f'{each.configuration} ({each.reason})' for each in group)}"
    names = [each.configuration for each in group]
    more = f"; {len(names) - MOST_NAMES} others" if len(names) > MOST_NAMES else ""
    return f"{label} ({reason}): {'; '.join(names[:MOST_NAMES])}{more}"


def _doubt(winner: Tried, finalists: int) -> str:
    """Return why a winner with an interval is not significantly better than plain eager."""
    assert winner.speedup is not None, "it has an interval"
    interval, p = f"95 % CI {_speedup(winner)[1]}", winner.speedup.p
    if p is None or p > LEVEL:
        return interval
    chance = f"{finalists} times the chance that equal ones differ so much ({p:.2g}) is above {LEVEL:g}"
    return f"{interval}, but as the best of {finalists} in the final, {chance} (Bonferroni)"


def disturbed_text(tried: Sequence[Tried]) -> str:
    """Return how many rounds of each configuration are left out as disturbed; nothing if none is."""
    texts = [f"{each.configuration} ({labels.disturbed(each.disturbed)})" for each in tried if each.disturbed]
    return f"disturbed {DISTURBED}: {'; '.join(texts)}" if texts else ""


def answer(search: SearchResult) -> list[str]:
    """Return the best configuration in words, and the command line that measures it again."""
    winner, wording = search.winner, WORDINGS[search.objective]
    fastest = f"[bold]{wording.title}{' of what was tried' if search.is_partial else ''}[/bold]:"
    than, better = f"{wording.than} plain eager", f"{wording.adjective} than plain eager"
    others = [each.standing for each in search.tried if each is not search.baseline]
    if all(each in (Status.SKIPPED, Status.INTERRUPTED) for each in others):
        advice = "; raise experiment.budget" if others and Status.INTERRUPTED not in others else ""
        return [f"{fastest} unknown: nothing but plain eager was tried{advice}"]
    if winner is search.baseline:
        return [f"{fastest} plain eager; nothing that was tried is {wording.adjective}"]
    name, (speedup, interval) = escape(winner.configuration), _speedup(winner)
    command, ends = f"  {escape(winner.case.spec.command)}", winner.speedup and winner.speedup.interval
    if search.is_better:
        found = f"95 % CI {interval}, {count(winner.finals, 'interleaved round')}"
    elif winner.least is not None and winner.least >= CERTAIN:
        found = f"at least {ratio_text(winner.least, None, None)} in each round"
    elif ends:
        reason = f"{_doubt(winner, search.finalists)}; raise experiment.budget"
        return [f"{fastest} perhaps {name}, but not significantly {better}: {reason}"]
    else:
        once = "in one round each, which gives no CI: raise experiment.budget"
        return [f"{fastest} perhaps {name}: {speedup} {than} {once}", command]
    text = f"{fastest} {name}: {speedup} {than} ({found})"
    if (error := winner.check.error_rel) is not None:
        text += f"; error {units.error(error)} of the largest output, allowed {winner.check.tolerance:g}"
    tied = [escape(each.configuration) for each in search.tried if each.is_tied]
    undecided = [f"  not significantly {wording.adjective} than {'; '.join(tied)}"] if tied else []
    return [text, *undecided, command]
