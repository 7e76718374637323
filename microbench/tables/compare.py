"""What a comparison prints: one row per pair and phase, and how to judge it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from microbench.analysis.absences import Absence, Absent
from microbench.analysis.compare import MEDIAN, Compared, Row, Suite
from microbench.analysis.verdict import Verdict
from microbench.errors import NothingToCompareError, UserError, unknown
from microbench.tables import units
from microbench.tables.escaping import escape
from microbench.tables.fitting import print_fitting, printed
from microbench.tables.labels import relative

STYLES = {Verdict.FASTER: "green", Verdict.SLOWER: "red", Verdict.SAME: "bold", Verdict.INCONCLUSIVE: "dim"}
WIDTH = 120  # columns of a comparison that is printed as text
MOST_DECIMALS = 4

PAIRINGS = {True: "mean of paired rounds", False: "mean of unpaired rounds"}
"""What a ratio is, by whether rounds are paired: the geometric mean of those of rounds."""
NOT_OF_TIMES = "not of the times shown"
OF_A_PROCESS = "the median over processes of each one's own (--tails: typical process), not that of all calls"

FAIL_ON = (Verdict.SLOWER, Verdict.FASTER, Verdict.INCONCLUSIVE, *Absent)
"""The findings that a check of a comparison can fail on."""

JUDGED = frozenset((Verdict.SLOWER, Verdict.FASTER))
"""Those of them that need an interval."""

IMPLIED: Mapping[str, Sequence[str]] = {Verdict.SLOWER: tuple(Absent)}
"""The absences that count along with a verdict: what has no time any more may be slower."""


class Comparison(Compared):
    """The findings of a comparison; it prints as its table."""

    def failing(self, on: str | Sequence[str] | None = None, max_slowdown: float | None = None) -> list[str]:
        """Return what a check of this comparison fails on, one line each; none if it passes.

            assert not microbench.compare("before", "after").failing("slower,inconclusive")
            assert not microbench.compare("before", "after").failing(max_slowdown=0.05)

        Args:
            on: any of slower, faster, inconclusive, failed (a case of B, or some of its rounds, but none of
                A's) and missing (B has not measured what A has), as a list or separated by commas. slower
                includes failed and missing. By default slower, unless `max_slowdown` is given.
            max_slowdown: the share by which B may be slower: fails where the verdict is slower and even the
                lower end of the ratio's interval is above 1 plus it. Includes failed and missing.

        Raises:
            NothingToCompareError: none of these is possible with so few rounds.
            UserError: `on` has another word, or is slower although `max_slowdown` is given.
        """
        asked = known_to_fail_on(on if on is not None else Verdict.SLOWER if max_slowdown is None else ())
        check_limit(asked, max_slowdown)
        found = [
            f"{row.verdict}: {row.case} {timed(row.phase, row.at)}: {sentence(row)}"
            for row in self.rows
            if row.verdict in asked
        ]
        if max_slowdown is not None:
            found += [
                f"slower by more than {units.share(max_slowdown)}: {row.case} {timed(row.phase, row.at)}: "
                f"{sentence(row)}"
                for row in self.slower_by_more_than(max_slowdown)
            ]
        found += absent(asked if max_slowdown is None else [*asked, *Absent], self.absences)
        if not found and {*asked} <= JUDGED and len(self.unjudged) == len(self.rows):
            reason = self.unjudged[0].reason
            raise NothingToCompareError(f"No verdict is possible, and none to fail on: {reason}.")
        return found

    @property
    def unjudged(self) -> list[Row]:
        """The rows without a verdict, because there are too few rounds for an interval."""
        return [row for row in self.rows if row.p is None]

    def __str__(self) -> str:
        return printed(lambda out: show_comparison(self, out), WIDTH)


def absent(asked: Sequence[str], absences: Sequence[Absence]) -> list[str]:
    """Return the absences in B that a check for these words fails on, one line each."""
    kinds = {*asked, *(kind for word in asked for kind in IMPLIED.get(word, ()))}
    return [f"{each.kind}: {each.case}: {each.reason}" for each in absences if each.kind in kinds]


def known_to_fail_on(words: str | Sequence[str]) -> list[str]:
    """Return the words as a list.

    Raises:
        UserError: one of them is not in `FAIL_ON`.
    """
    asked = [word.strip() for word in words.split(",")] if isinstance(words, str) else list(words)
    for word in asked:
        if word not in FAIL_ON:
            raise unknown("verdict to fail on", word, FAIL_ON)
    return asked


def check_limit(asked: Sequence[str], max_slowdown: float | None) -> None:
    """Reject a limit that has no effect, because every slower case fails anyway.

    Raises:
        UserError: it is one.
    """
    if max_slowdown is not None and Verdict.SLOWER in asked:
        raise UserError(
            "slower fails on every slower case, and max_slowdown on those beyond a limit: leave one out."
        )


def show_comparison(comparison: Compared, out: Console) -> None:
    """Print what differs, one row per pair and phase, the mean over pairs, and warnings."""
    for name, path in (("A", comparison.a), ("B", comparison.b)):
        if path is not None:
            out.print(f"{name}: {escape(relative(path))}", style="dim", soft_wrap=True)
    for difference in comparison.differences:
        out.print(f"compared: {escape(str(difference))}", style="dim", soft_wrap=True)
    table = comparison_table(comparison)
    times = [str(column.header) for column in table.columns[2:4]]
    print_fitting(out, table, less_wanted=("95 % CI", *reversed(times), "phase"))
    for suite in comparison.suite:
        out.print(escape(suite_text(suite, comparison.rows[0].at)), soft_wrap=True)
    out.print(escape(note(comparison)), style="dim", soft_wrap=True)
    for text in comparison.remarks:
        out.print(escape(text), soft_wrap=True)
    for text in comparison.warnings:
        out.print(f"[yellow]warning[/yellow]: {escape(text)}", soft_wrap=True)


def comparison_table(comparison: Compared) -> Table:
    """Return one row per pair and phase: both times, their ratio with its interval, and the verdict."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("case")
    table.add_column("phase", no_wrap=True)
    others = list(dict.fromkeys(row.b for row in comparison.rows))
    for name in (comparison.rows[0].a, others[0] if len(others) == 1 else "other", "ratio", "95 % CI"):
        table.add_column(escape(name), justify="right")
    table.add_column("verdict")
    for row in comparison.rows:
        table.add_row(
            escape(row.case),
            timed(row.phase, row.at),
            units.time(row.a_time),
            units.time(row.b_time),
            escape(f"{row.b}/{row.a} {ratio_text(row.ratio, row.low, row.high)}"),
            interval_text(row.ratio, row.low, row.high),
            verdict_text(row),
        )
    return table


def verdict_text(judged: Row) -> str:
    """Return the verdict, and the reason for an inconclusive one, with markup."""
    style = STYLES[judged.verdict]
    reason = f": {escape(judged.reason)}" if judged.reason else ""
    return f"[{style}]{judged.verdict}[/{style}]{reason}"


def _decimals(ratio: float, low: float | None, high: float | None) -> int:
    """Return how many decimals of a ratio its interval supports: two to four if it is near 1."""
    half_width = None if low is None or high is None else (high - low) / 2
    return min(MOST_DECIMALS, max(2 if ratio < 10 else 0, units.decimals(ratio, half_width)))


def ratio_text(ratio: float, low: float | None, high: float | None) -> str:
    """Return a ratio such as `1.10`, with the decimals that its interval supports."""
    return _ratio(ratio, _decimals(ratio, low, high))


def interval_text(ratio: float, low: float | None, high: float | None) -> str:
    """Return a ratio's interval, such as `1.05 to 1.16`."""
    if low is None or high is None:
        return "none"
    digits = _decimals(ratio, low, high)
    return " to ".join(_ratio(end, max(digits, 2 if end < 10 else 0)) for end in (low, high))


def _ratio(value: float, decimals: int) -> str:
    """Return a ratio with some decimals; one that is far from 1 with three digits."""
    return f"{value:.{decimals}f}" if 0.1 <= value < 1000 else f"{value:.3g}"


def sentence(row: Row) -> str:
    """Return a row in words, such as `B/A 1.10, 95 % CI 1.05 to 1.16, slower`."""
    interval = "" if row.low is None else f", 95 % CI {interval_text(row.ratio, row.low, row.high)}"
    reason = f" ({row.reason})" if row.reason else ""
    return f"{row.b}/{row.a} {ratio_text(row.ratio, row.low, row.high)}{interval}, {row.verdict}{reason}"


def timed(phase: str, at: str) -> str:
    """Return a phase, with the percentile that is compared if that is not the median."""
    return phase if at == MEDIAN else f"{phase} {at}"


def suite_text(suite: Suite, at: str = MEDIAN) -> str:
    """Return the mean ratio of all pairs, in a sentence."""
    numbers = suite.ratio, suite.low, suite.high
    interval = "" if suite.low is None else f", 95 % CI {interval_text(*numbers)}"
    ratio = f"{suite.b}/{suite.a} {ratio_text(*numbers)}{interval}"
    scope = "geometric mean, for these cases on this machine"
    return f"all {suite.cases} cases, {timed(suite.phase, at)}: {ratio} ({scope})"


def note(comparison: Compared) -> str:
    """Return how to read the table."""
    row = comparison.rows[0]
    ratio = f"{row.b}/{row.a}" if comparison.by is None else "ratio"
    of = ("B's", "A's") if comparison.by is None else ("a value's", f"that of {row.a}")
    pairing = " or ".join(dict.fromkeys(PAIRINGS[each.paired] for each in comparison.rows))
    tail = "" if row.at == MEDIAN else f". {row.at}: {OF_A_PROCESS}"
    return (
        f"{ratio}: {of[0]} {'time' if row.at == MEDIAN else row.at} over {of[1]}, {pairing}, {NOT_OF_TIMES}; "
        f"above 1 is slower. same: within ±{units.share(comparison.margin)}{tail}"
    )
