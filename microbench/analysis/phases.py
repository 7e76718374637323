"""Which phases of cases are asked for."""

from __future__ import annotations

from collections.abc import Sequence

from microbench.errors import unknown
from microbench.records.cases import CaseResult

ALL = "all"


def chosen(cases: Sequence[CaseResult], wanted: str | Sequence[str] | None) -> list[str]:
    """Return the phases that are asked for, in the order of the cases.

    Args:
        cases: the cases.
        wanted: phases as a list or separated by commas, or `all`; by default those that span a whole step.

    Raises:
        UserError: no case has measured a given phase.
    """
    if wanted is None:
        return list(dict.fromkeys(case.whole.phase for case in cases if case.whole is not None))
    known = list(dict.fromkeys(phase for case in cases for phase in case.estimates))
    given = [word.strip() for word in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
    for word in given:
        if word not in (*known, ALL) and known:
            raise unknown("phase", word, [*known, ALL])
    return known if ALL in given else list(dict.fromkeys(given))
