"""How many rounds a case gets, and how much of its budget each: planned from what its rounds have cost."""

from __future__ import annotations

from collections.abc import Sequence

from microbench.config import Config
from microbench.records.record import Plan, Role, RoundRecord, RoundsReason
from microbench.run.case import Case

FEWEST = 3
"""Rounds that no budget prevents. Two have an interval of 50 %, which says little; three, one of 75 %."""

OVERRUN = 3.0
"""How many times its budget a case may take for the rounds of a 95 % CI, if they have one sample each."""


def planned(case: Case, records: Sequence[RoundRecord], startup: float = 0.0) -> Plan:
    """Plan the next round of a case.

    Args:
        case: the case.
        records: its rounds so far.
        startup: seconds that starting the run took, if they count for this case.
    """
    budget, given = case.config.measure.budget, case.config.measure.rounds
    spent = startup + sum(each.seconds or 0.0 for each in records)
    rounds, reason = case.rounds, RoundsReason.ENOUGH if given is None else RoundsReason.GIVEN
    if budget is None or not case.config.timing:
        return Plan(rounds=rounds, reason=reason, spent=spent)
    least = least_cost(records)
    if given is None and least is not None:
        rounds, reason = _affordable(case, spent, budget, len(records), least)
    share = max(0.0, budget - spent) / max(1, rounds - len(records))
    return Plan(
        rounds=rounds, reason=reason, seconds=after_starting(share, case, records, startup), spent=spent
    )


def after_starting(share: float, case: Case, records: Sequence[RoundRecord], startup: float = 0.0) -> float:
    """Return what is left of a round's share of the budget when its process begins to work, in seconds.

    Args:
        share: the seconds that the round may take in all.
        case: the case.
        records: its rounds so far.
        startup: seconds that starting another process took; known before the first round.
    """
    if not starts_anew(case.config):
        return share
    return max(0.0, share - max((each.startup for each in records), default=startup))


def starts_anew(config: Config) -> bool:
    """Return whether each round starts a process that imports torch, which a fork has already done."""
    return config.isolation == "spawn"


def _affordable(case: Case, spent: float, budget: float, done: int, least: float) -> tuple[int, RoundsReason]:
    """Return the number of rounds that a case gets, and why, if each of them takes `least` seconds."""
    affordable = done + int(max(0.0, budget - spent) / least)
    if affordable >= case.rounds or spent + (case.rounds - done) * least <= OVERRUN * budget:
        return case.rounds, RoundsReason.ENOUGH
    return max(affordable, min(FEWEST, case.rounds)), RoundsReason.BUDGET


def overrun(case: Case, spent: float, least: float) -> str | None:
    """Return that a case will exceed its budget, with an estimate; None if it will not.

    Args:
        case: the case.
        spent: seconds that it has taken before its first round.
        least: seconds that each round takes at least.
    """
    budget, given = case.config.measure.budget, case.config.measure.rounds
    total = spent + case.rounds * least
    if budget is None or total <= budget:
        return None
    if given is not None:
        return f"measure.rounds={given} takes about {total:.0f} s, more than measure.budget={budget:g}"
    if case.rounds == 1:
        return f"its round takes about {total:.0f} s, more than measure.budget={budget:g}"
    rounds, reason = _affordable(case, spent, budget, 0, least)
    if spent >= budget:
        return (
            f"starting alone took {spent:.1f} s, and measure.budget={budget:g}; the least is "
            f"{rounds} rounds of one sample, in about {spent + rounds * least:.0f} s"
        )
    if reason is RoundsReason.ENOUGH:
        return (
            f"{rounds} rounds, the fewest with a 95 % CI, take about {total:.0f} s, more than "
            f"measure.budget={budget:g}"
        )
    return (
        f"{rounds} rounds of one sample take about {spent + rounds * least:.0f} s, and "
        f"measure.budget={budget:g}; {case.rounds}, the fewest with a 95 % CI, would take {total:.0f} s"
    )


def is_due(case: Case, plan: Plan, number: int, records: Sequence[RoundRecord]) -> bool:
    """Return whether a case gets a round of that number: one that is planned, or replaces a disturbed one.

    A disturbed round is replaced if there is time for it, but not if all are disturbed: the machine is like
    that. Whether a round is disturbed never depends on its times. A requested number of rounds is kept.
    """
    if number < plan.rounds:
        return True
    measured = [each for each in records if each.ok]
    disturbed = sum(each.is_disturbed for each in measured)
    if disturbed <= number - plan.rounds or disturbed == len(measured) or number >= 2 * plan.rounds:
        return False
    return has_time(case, plan, measured)


def has_time(case: Case, plan: Plan, records: Sequence[RoundRecord]) -> bool:
    """Return whether a case has time for another round like its last, beyond those that are planned."""
    budget = case.config.measure.budget
    if plan.reason is RoundsReason.GIVEN or budget is None or not records:
        return False
    return plan.spent + further_cost(records[-1]) <= budget


def least_cost(records: Sequence[RoundRecord]) -> float | None:
    """Return the seconds that a further round takes with a single sample; None if none was measured."""
    costs = [_least(each) for each in records if each.ok]
    return max(min(costs), 1e-6) if costs else None


def _least(record: RoundRecord) -> float:
    """Return the seconds that another round like this takes with a single sample."""
    whole = next((each for each in record.series if each.role is Role.WHOLE), None)
    readings = record.outcome.readings
    sampling = readings.sampling_seconds if readings is not None else 0.0
    more = sampling * (1 - 1 / len(whole.samples)) if whole is not None and whole.samples else 0.0
    return further_cost(record) - more


def further_cost(record: RoundRecord) -> float:
    """Return the seconds that another round like this takes: without checks, and what it need not start."""
    startup = 0.0 if starts_anew(record.case.config) else record.startup
    return (record.seconds or 0.0) - startup - record.checking
