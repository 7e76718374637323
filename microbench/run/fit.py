"""`batch_size=max`: the most items of a case that fit in memory, found by trying sizes in fresh processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from microbench.config import Config
from microbench.errors import StoppedError
from microbench.records.cases import CaseResult
from microbench.records.progress import Fit
from microbench.records.record import Outcome, Status
from microbench.run.case import Case
from microbench.tables.units import memory

RAN = (Status.OK, Status.MISMATCH)
"""How a round ends whose batch fits: a wrong answer takes as much memory as a right one."""

LARGEST_STEP = 16  # times the size that fits, of the next one if it surely does
SURE = 0.5  # share of the memory up to which a forecast is trusted for such a step
CLOSE = 1 / 128  # how far apart, relative to them, a size that fits and one that does not may be at the end
MOST_TRIALS = 100
QUIET = 5.0  # seconds without a word, after which a size that was tried is told

Try = Callable[[Case], Fit | Outcome]
"""Runs a case's round in a fresh process; returns what it needed, or how it ended without an answer."""


@dataclass
class Sizes:
    """The batch sizes that were tried.

    Attributes:
        fits: the largest that fits; 0 for none.
        fails: the smallest that does not; None for none.
        least: the smallest to try.
        last: what the largest that fits needed.
        why: how the smallest that does not fit ended.
    """

    fits: int = 0
    fails: int | None = None
    least: int = 1
    last: Fit = field(default_factory=lambda: Fit(Outcome()))
    why: Outcome | None = None
    _before: tuple[int, int] | None = None  # a smaller size that fits, and its bytes

    def add(self, size: int, found: Fit | Outcome) -> bool:
        """Add what was found for a size; return whether it fits.

        Raises:
            StoppedError: nothing tells how much memory it needs.
        """
        fit = found if isinstance(found, Fit) else Fit(found)
        if fit.outcome.status in RAN:
            if fit.peak is None or fit.available is None:
                raise StoppedError(
                    "batch_size=max is not possible: nothing tells here how much memory a case takes, or how "
                    "much there is; give a number."
                )
            if fit.peak <= fit.available:
                if self.fits and self.last.peak is not None:
                    self._before = self.fits, self.last.peak
                self.fits, self.last = size, fit
                return True
        self.fails, self.why = size, fit.outcome
        return False

    def next(self) -> int | None:
        """Return the next size to try; None if the largest that fits is known closely enough.

        No size is tried that would take more memory than there is if memory grows as it did last.
        """
        most = self._most()
        bound = min(each for each in (most, self.fails and self.fails - 1, 2**62) if each is not None)
        if bound < self.least or bound <= self.fits * (1 + CLOSE):
            return None
        if self.fails is not None:
            return min((self.fits + self.fails) // 2, bound)
        size, sure = 2 * self.fits, most or 0
        while size < LARGEST_STEP * self.fits and 2 * size <= SURE * sure:
            size *= 2
        return min(size, bound)

    def _most(self) -> int | None:
        """Return the size that takes all memory if it grows with the size as it did last; None if unknown."""
        peak, available = self.last.peak, self.last.available
        if self._before is None or peak is None or available is None:
            return None
        size, bytes_ = self._before
        growth = (peak - bytes_) / (self.fits - size)
        return None if growth <= 0 else self.fits + int((available - peak) / growth)


def fitted(
    cases: Iterable[Case], earlier: Iterable[CaseResult], attempt: Try, say: Callable[[Case, str], None]
) -> Iterator[Case]:
    """Yield the cases, those of `batch_size=max` with the most items that fit.

    The size is found once for all cases of the same work and configuration. A case that fails with every
    batch has the first one, and its outcome.

    Args:
        cases: the cases, their devices resolved.
        earlier: cases of the run that is completed, whose sizes are kept.
        attempt: runs a case's first round.
        say: is told what was found for a case.

    Raises:
        StoppedError: nothing tells how much memory a case needs.
    """
    known: dict[str, int | Outcome] = {
        _alone(found.config): found.config.batch_size
        for found in earlier
        if found.config.max_batch and found.measured_rounds
    }
    for case in cases:
        if not case.config.max_batch or case.known is not None:
            yield case
            continue
        key = _alone(case.config)
        if key not in known:
            known[key] = _found(case, attempt, say)
        found = known[key]
        yield replace(case, known=found) if isinstance(found, Outcome) else _with(case, found)


def _found(case: Case, attempt: Try, say: Callable[[Case, str], None]) -> int | Outcome:
    """Return the most items that fit; if none do, how the case ended."""
    sizes = largest(case, attempt, partial(say, case))
    if not sizes.fits:
        assert sizes.why is not None
        return sizes.why
    fit, why = sizes.last, sizes.why
    took = f"takes {memory(fit.peak or 0)} of {memory(fit.available or 0)}"
    also = f"; {sizes.fails} failed: {why.error}" if why is not None and why.error else ""
    say(case, f"batch_size={sizes.fits} {took}{also}")
    return sizes.fits


def largest(case: Case, attempt: Try, say: Callable[[str], None]) -> Sizes:
    """Try sizes from the case's own on: larger ones until one does not fit, then those in between.

    A case that fails with a single item may need two, as batch normalization in training does. One that
    fails with two as well fails with any.
    """
    sizes, size, told = Sizes(), case.config.batch_size, time.monotonic()
    for _ in range(MOST_TRIALS):
        fits = sizes.add(size, attempt(_with(case, size)))
        is_alone = size == 1 and sizes.why is not None and sizes.why.status is Status.ERROR
        if not fits and is_alone:
            sizes, size = Sizes(least=2), 2
            continue
        following = sizes.next()
        if following is None:
            break
        if time.monotonic() - told > QUIET:
            say(f"batch_size={size} {'fits' if fits else 'does not fit'}, trying {following}")
            told = time.monotonic()
        size = following
    return sizes


def _with(case: Case, size: int) -> Case:
    """Return a case with another batch size, in its overrides too."""
    kept = [each for each in case.overrides if each.partition("=")[0] not in ("batch_size", "max_batch")]
    config = replace(case.config, batch_size=size)
    return replace(case, config=config, overrides=(*kept, f"batch_size={size}"))


def _alone(config: Config) -> str:
    """Return what cases have in common that differ in their batch alone."""
    return Case(replace(config, batch_size=1)).id
