"""Which measurement of a case counts, if several runs have measured it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from microbench.analysis.axes import GPU_UUID, HOST, value_on
from microbench.records.cases import CaseResult

LATEST = "of a case that several runs measured, the latest that ended well counts"


@dataclass(frozen=True)
class Latest:
    """The measurement of a case that counts.

    Attributes:
        case: the latest that ended well; if none did, the latest.
        last: the latest, however it ended.
        runs: how many there are.
    """

    case: CaseResult
    last: CaseResult
    runs: int

    @property
    def note(self) -> str | None:
        """What to say of the other measurements; None if there are none."""
        if self.runs == 1:
            return None
        told = f"the latest of several runs of the case ({self.runs})"
        if self.last is not self.case:
            reason = self.last.reason or "no reason recorded"
            told += f" that ended well; after it, {self.last.standing}: {reason}"
        return f"{told}; microbench history shows all"


def latest(cases: Sequence[CaseResult], facts: Sequence[str] = ()) -> list[Latest]:
    """Return the measurement of each case that counts, on each host and GPU, in the order of the cases.

    Args:
        cases: the cases.
        facts: the facts that cases are told apart by, such as torch's version.
    """
    groups: dict[Hashable, list[CaseResult]] = {}
    for case in sorted(cases, key=lambda case: case.first.started_at):
        key = case.spec.id, *(value_on(case, name) for name in (HOST, GPU_UUID, *facts))
        groups.setdefault(key, []).append(case)
    chosen = {}
    for group in groups.values():
        well = [case for case in group if case.standing == "ok"]
        case = (well or group)[-1]
        chosen[id(case)] = Latest(case, group[-1], len(group))
    return [chosen[id(case)] for case in cases if id(case) in chosen]
