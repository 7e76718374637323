"""Which measurement of a case counts, if several runs have measured it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from microbench.analysis.axes import GPU_UUID, HOST, value_on
from microbench.analysis.verdict import IN_TURN
from microbench.records.cases import CaseResult
from microbench.records.settings import computed

LATEST = (
    "of a case that several runs measured, the latest that ended well counts, but rather a run that "
    "interleaved more of its alternatives"
)


@dataclass(frozen=True)
class Latest:
    """The measurement of a case that counts.

    Attributes:
        case: of those that ended well, the one of the run that interleaved most of its alternatives, or the
            latest of equal ones; if none ended well, the latest.
        last: the latest, however it ended.
        runs: how many there are.
        is_earlier: whether a later one ended well, too, but in a run with fewer of its alternatives.
    """

    case: CaseResult
    last: CaseResult
    runs: int
    is_earlier: bool = False

    @property
    def note(self) -> str | None:
        """What to say of the other measurements; None if there are none."""
        if self.runs == 1:
            return None
        told = f"the latest of several runs of the case ({self.runs})"
        if self.is_earlier:
            told += " that interleaved it with most alternatives"
        elif self.last is not self.case:
            reason = self.last.reason or "no reason recorded"
            told += f" that ended well; after it, {self.last.standing}: {reason}"
        return f"{told}; microbench history shows all"


def latest(cases: Sequence[CaseResult], facts: Sequence[str] = ()) -> list[Latest]:
    """Return the measurement of each case that counts, on each host and GPU, in the order of the cases.

    A case that was measured once more by itself still stands beside the alternatives that it took turns with.

    Args:
        cases: the cases.
        facts: the facts that cases are told apart by, such as torch's version.
    """
    groups: dict[Hashable, list[CaseResult]] = {}
    for case in sorted(cases, key=lambda case: case.first.started_at):
        key = case.spec.id, *(value_on(case, name) for name in (HOST, GPU_UUID, *facts))
        groups.setdefault(key, []).append(case)
    chosen = {}
    interleaved = _interleaved(groups.values())
    for group in groups.values():
        well = [case for case in group if case.standing == "ok"] or group
        case = max(reversed(well), key=lambda case: interleaved.get(id(case), 0))
        chosen[id(case)] = Latest(case, group[-1], len(group), case is not well[-1])
    return [chosen[id(case)] for case in cases if id(case) in chosen]


def _interleaved(groups: Iterable[Sequence[CaseResult]]) -> dict[int, int]:
    """Return by the id of each case how many alternatives its run interleaved, itself included.

    Only the runs of cases that several runs measured are looked at, and only what ended well.
    """
    given = list(groups)
    runs = {
        case.run.id for group in given if len(group) > 1 for case in group if case.run.schedule in IN_TURN
    }
    works: dict[Hashable, list[CaseResult]] = {}
    for case in (case for group in given for case in group):
        if case.run.id in runs and case.standing == "ok":
            works.setdefault((case.run.id, case.machine.host_id, computed(case)), []).append(case)
    return {id(case): len(work) for work in works.values() for case in work}
