"""The sentences of a page: what is fastest, by how much, and how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from microbench.analysis.charts import Time
from microbench.analysis.page import Alone, Answer, Rival
from microbench.analysis.verdict import SEPARATE_RUNS, Verdict
from microbench.config import MARGIN
from microbench.tables import units
from microbench.tables.compare import interval_text, ratio_text
from microbench.tables.labels import count

Piece = tuple[bool, str]
"""A part of a sentence, and whether it is emphasized."""


def headline(answers: Sequence[Answer], alone: Sequence[Alone]) -> str:
    """Return what is fastest how often, and how often that is not decided; nothing for a single one."""
    if not answers:
        return "Nothing to rank: each workload was measured in one configuration." if alone else ""
    if len(answers) == 1:
        return ""
    decided = Counter(answer.fastest for answer in answers if not answer.undecided)
    rest = len(answers) - decided.total()
    if not decided:
        return f"Not decided for any of {len(answers)} workloads."
    (name, number), *others = decided.most_common()
    parts = [f"{name} is fastest in {number}", *(f"{name} in {number}" for name, number in others)]
    parts += [f"not decided in {rest}"] if rest else []
    return f"Of {len(answers)} workloads: {', '.join(parts)}."


def sentence(answer: Answer) -> Iterator[Piece]:
    """Yield the pieces of an answer."""
    if answer.undecided:
        yield from _undecided(answer)
    else:
        yield True, answer.fastest
        yield False, " is fastest for "
        yield True, answer.work
        against = answer.baseline or answer.rivals[0]
        next_ = "" if answer.baseline else "the next, "
        yield (
            False,
            f": {_times(against)} times as fast as {next_}{against.configuration}{_sure(against, answer)}.",
        )
        if (number := len(answer.rivals)) > 1:
            yield False, f" {'Both' if number == 2 else f'All {number}'} others are significantly slower."
    if answer.unmeasured:
        verb = "has" if answer.unmeasured == 1 else "have"
        yield (
            False,
            f" {count(answer.unmeasured, 'configuration')} {verb} no time that counts: see the table.",
        )


def _undecided(answer: Answer) -> Iterator[Piece]:
    rivals = [rival for rival in answer.undecided if rival.reason != SEPARATE_RUNS]
    separate = [rival for rival in answer.undecided if rival.reason == SEPARATE_RUNS]
    yield False, "Not decided for "
    yield True, answer.work
    yield False, ": "
    yield True, answer.fastest
    yield False, f" has the shortest time, {median_of(answer.time)}"
    if rivals:
        yield False, ", but "
        yield True, ", ".join(rival.configuration for rival in rivals)
        yield False, f" {_doubt(rivals)}"
    yield False, "."
    for rival in separate:
        yield True, f" {rival.configuration}"
        yield False, f": ratio {_ratio(rival)}, {rival.reason}."
    if rivals and all(rival.verdict is Verdict.SAME for rival in answer.undecided):
        return
    base = answer.baseline
    if base is not None and base.verdict is Verdict.SLOWER:
        yield False, f" It is {_times(base)} times as fast as {base.configuration}{_sure(base, answer)}."


def _doubt(rivals: Sequence[Rival]) -> str:
    """Return why rivals of the same run are not significantly slower."""
    if all(rival.verdict is Verdict.SAME for rival in rivals):
        return f"{'takes' if len(rivals) == 1 else 'take'} equally long within ±{units.share(MARGIN)}"
    return f"may be as fast: {'; '.join(map(_open, rivals))}"


def _open(rival: Rival) -> str:
    """Return what is known of a rival that may be as fast, and what would settle it."""
    return f"ratio {_ratio(rival)}" + (f" ({rival.reason})" if rival.reason else "")


def _ratio(rival: Rival) -> str:
    if rival.low is None or rival.high is None:
        return _times(rival)
    return f"{_times(rival)}, 95 % CI {interval_text(rival.ratio, rival.low, rival.high)}"


def _times(rival: Rival) -> str:
    return ratio_text(rival.ratio, rival.low, rival.high)


def _sure(rival: Rival, answer: Answer) -> str:
    """Return the interval of a ratio, and the rounds that it rests on."""
    rounds = count(answer.time.rounds, "round")
    if rival.low is None or rival.high is None:
        return f" ({rounds}, no interval)"
    return f" (95 % CI {interval_text(rival.ratio, rival.low, rival.high)}, {rounds})"


def alone(found: Alone) -> Iterator[Piece]:
    """Yield the pieces of what is known of a work that was measured in one configuration."""
    yield True, found.work
    interval = f"interval {interval_of(found.time)}" if found.time.half_width is not None else "no interval"
    rounds = count(found.time.rounds, "round")
    yield False, f", {found.configuration}: {median_of(found.time)} ({interval}, {rounds})."


def median_of(time: Time) -> str:
    """Return a time with the digits that its interval supports."""
    return units.time(time.seconds, time.half_width)


def interval_of(time: Time) -> str:
    """Return a time's interval; nothing without one."""
    if time.low is None or time.high is None:
        return ""
    return units.interval(time.low, time.high, time.seconds)
