"""A comparison as a comment on a pull request, in GitHub's markdown: the verdict first, details folded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from microbench.analysis.absences import Absence, Absent
from microbench.analysis.compare import Compared, Row
from microbench.analysis.verdict import Verdict
from microbench.tables import units
from microbench.tables.compare import interval_text, note, ratio_text, suite_text, timed
from microbench.tables.escaping import markdown, markdown_row
from microbench.tables.labels import count, machine, relative

WORDS = {
    Verdict.SLOWER: ("is slower", "are slower"),
    Verdict.FASTER: ("is faster", "are faster"),
    Verdict.SAME: ("is the same", "are the same"),
    Verdict.INCONCLUSIVE: ("is inconclusive", "are inconclusive"),
    Absent.FAILED: ("failed", "failed"),
    Absent.MISSING: ("is missing", "are missing"),
}
"""What is said of one and of several, in the order in which it is said."""

TELLING = (Verdict.SLOWER, Verdict.FASTER)
"""The verdicts whose rows are shown without unfolding."""


def comment(comparison: Compared, limit: float | None = None) -> str:
    """Return a comparison as a comment.

    Args:
        comparison: the comparison.
        limit: the share by which the second side may be slower; None for no limit.
    """
    telling = [row for row in comparison.rows if row.verdict in TELLING]
    lines = [f"**{verdict_words(comparison)}**", *_limit(comparison, limit), ""]
    if telling:
        lines += [*_table(telling), ""]
    if comparison.absences:
        lines += [*_absent(comparison.absences), ""]
    title = f"{count(len(comparison.rows), 'comparison')}, machine and versions"
    lines += ["<details>", f"<summary>{title}</summary>", "", *_table(comparison.rows), ""]
    lines += [f"- {markdown(each)}" for each in _details(comparison)]
    return "\n".join([*lines, "", "</details>"]) + "\n"


def comment_without_times(absences: Sequence[Absence]) -> str:
    """Return the comment for a comparison of which no case has times on both sides."""
    return "\n".join(["**Nothing was measured on both sides**", "", *_absent(absences)]) + "\n"


def _absent(absences: Sequence[Absence]) -> Iterator[str]:
    return (f"- {each.kind}: {markdown(f'{each.case}: {each.reason}')}" for each in absences)


def verdict_words(comparison: Compared) -> str:
    """Return the verdict in words, such as `2 of 12 cases are slower, 9 are the same, 1 is inconclusive`."""
    tally, of = comparison.tally, len(comparison.rows)
    noun = "case" if of == len({(row.case, row.b) for row in comparison.rows}) else "comparison"
    parts = [
        (tally[kind], one if tally[kind] == 1 else more)
        for kind, (one, more) in WORDS.items()
        if tally.get(kind)
    ]
    (number, words), *others = parts
    found = [f"{number} of {count(of, noun)} {words}", *(f"{number} {words}" for number, words in others)]
    return ", ".join(found)


def _limit(comparison: Compared, limit: float | None) -> Iterator[str]:
    """Yield how many rows are certainly beyond a limit, and how many more their intervals allow to be."""
    if limit is None:
        return
    beyond, perhaps = comparison.slower_by_more_than(limit), comparison.perhaps_slower_by_more_than(limit)
    yield ""
    more = f"; {len(perhaps)} more may be" if perhaps else ""
    yield f"Limit: {units.share(limit)} slower. {len(beyond)} certainly beyond it{more}."


def _table(rows: Sequence[Row]) -> Iterator[str]:
    others = list(dict.fromkeys(row.b for row in rows))
    names = [
        "case",
        "phase",
        rows[0].a,
        others[0] if len(others) == 1 else "other",
        "ratio",
        "95 % CI",
        "verdict",
    ]
    yield markdown_row(map(markdown, names))
    yield "| --- | --- | ---: | ---: | ---: | ---: | --- |"
    for row in rows:
        texts = [
            row.case,
            timed(row.phase, row.at),
            units.time(row.a_time),
            units.time(row.b_time),
            f"{row.b}/{row.a} {ratio_text(row.ratio, row.low, row.high)}",
            interval_text(row.ratio, row.low, row.high),
        ]
        verdict = f"**{row.verdict}**" if row.verdict in TELLING else str(row.verdict)
        reason = f": {markdown(row.reason)}" if row.reason else ""
        yield markdown_row([*map(markdown, texts), f"{verdict}{reason}"])


def _details(comparison: Compared) -> Iterator[str]:
    """Yield how to read the table, what was compared where, and what may explain a difference."""
    at = comparison.rows[0].at
    yield from (suite_text(each, at) for each in comparison.suite)
    yield note(comparison)
    yield from (f"compared: {each}" for each in comparison.differences)
    for name, path in (("A", comparison.a), ("B", comparison.b)):
        if path is not None:
            yield f"{name}: {relative(path)}"
    yield from _machines(comparison)
    yield from comparison.remarks
    yield from (f"warning: {each}" for each in comparison.warnings)


def _machines(comparison: Compared) -> Iterator[str]:
    """Yield the machine and the versions of both sides; of each, where two runs differ in them."""
    a, b = machine(comparison.a_cases), machine(comparison.b_cases)
    if comparison.b is None or a == b:
        yield machine([*comparison.a_cases, *comparison.b_cases])
    else:
        yield from (f"A: {a}", f"B: {b}")
