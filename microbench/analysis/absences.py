"""What one side of a comparison has measured and the other has not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from microbench.analysis.pairing import Pair, Pairing
from microbench.records.cases import CaseResult
from microbench.records.record import Status


class Absent(StrEnum):
    """Why the second side has no time although the first has one."""

    FAILED = "failed"
    MISSING = "missing"


@dataclass(frozen=True)
class Absence:
    """A case, a phase or a round that the baseline's side has measured and the other has not.

    Attributes:
        kind: failed; or missing, if it was not tried or this machine cannot run it.
        case: what distinguishes the case from the others.
        reason: what is absent, and why.
    """

    kind: Absent
    case: str
    reason: str


def absences(pairing: Pairing, phases: Sequence[str]) -> list[Absence]:
    """Return what a pairing's baselines have measured and the cases compared with them have not.

    Args:
        pairing: the pairs, and the baselines without a counterpart.
        phases: the phases that are compared.
    """
    found = [each for pair in pairing.pairs if counts(pair.a) for each in _of_pair(pair, phases)]
    found += [
        Absence(Absent.MISSING, name, f"{side} has no such case")
        for name, side, case in pairing.missing
        if counts(case)
    ]
    return list(dict.fromkeys(found))


def counts(case: CaseResult) -> bool:
    """Return whether a case has reliable times."""
    return bool(case.estimates) and not case.is_implausible


def _of_pair(pair: Pair, phases: Sequence[str]) -> Iterator[Absence]:
    if not counts(pair.b):
        kind = Absent.MISSING if pair.b.status == Status.SKIPPED else Absent.FAILED
        why = pair.b.reason or "nothing was summarized"
        yield Absence(kind, pair.name, f"{pair.b_name}: {pair.b.standing}: {why}")
        return
    if pair.b.failures and not pair.a.failures:
        first = next(iter(pair.b.failures.values()))
        rounds = f"{len(pair.b.failures)} of {len(pair.b.rounds)} rounds"
        yield Absence(
            Absent.FAILED,
            pair.name,
            f"{pair.b_name}: {rounds}: {first.outcome.status}: {first.outcome.error}",
        )
    for phase in phases:
        if phase in pair.a.estimates and phase not in pair.b.estimates:
            yield Absence(Absent.MISSING, pair.name, f"{pair.b_name} has not measured {phase}")
