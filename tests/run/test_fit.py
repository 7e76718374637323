"""`batch_size=max`: which sizes are tried, and what becomes of the case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from microbench.errors import StoppedError
from microbench.options.compose import from_options
from microbench.records.progress import Fit, Watch
from microbench.records.record import Outcome, Status
from microbench.records.result import Result
from microbench.run.case import Case
from microbench.run.fit import Sizes, largest
from microbench.run.protocol import Answer, Describe, Measure, Request, TryBatch

from .support import CORES, OK, PLACE, Diary, Take

LIMIT = 10_000_000_000
FULL = Outcome(status=Status.OOM, error="out of memory")
Peak = Callable[[int], int]


def linear(size: int) -> int:
    return 50_000_000 + 65_540 * size


def square(size: int) -> int:
    return 50_000_000 + 20 * size * size


def in_steps(size: int) -> int:
    """Workspaces of a library come and go with the size."""
    return linear(size) + 300_000_000 * (size % 3)


def hardly(size: int) -> int:
    return 9_000_000_000 + size


def by_hand(peak: Peak) -> int:
    """Return the largest size that fits."""
    low, high = 0, LIMIT
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if peak(middle) <= LIMIT else (low, middle)
    return low


def case_of(**options: Any) -> Case:
    given = {"model": "dense", "device": "cpu", "batch_size": "max"} | options
    return from_options(given, sweep=False)[0]


@dataclass
class Device:
    """A device with so much memory, and what the rounds on it take.

    Attributes:
        peak: bytes that a round with a batch takes.
        refuses: whether more than there is is refused, as by a GPU; otherwise it is an error to try it.
        tried: the batches, in order.
    """

    peak: Peak
    refuses: bool
    tried: list[int] = field(default_factory=list)

    def attempt(self, case: Case) -> Fit | Outcome:
        size = case.config.batch_size
        self.tried.append(size)
        peak = self.peak(size)
        if peak > LIMIT:
            assert self.refuses, f"{size} items take {peak / LIMIT:.2f} of the memory"
            return Fit(FULL, None, LIMIT)
        return Fit(Outcome(), peak, LIMIT)


def quiet(text: str) -> None:
    pass


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("peak", [linear, hardly])
def test_the_largest_batch_is_found_within_a_percent(peak: Peak, refuses: bool) -> None:
    device = Device(peak, refuses)
    found = largest(case_of(), device.attempt, quiet)
    assert 0.99 * by_hand(peak) <= found.fits <= by_hand(peak)
    assert len(device.tried) < 40


@pytest.mark.parametrize("peak", [square, in_steps])
def test_a_device_that_refuses_tells_where_memory_does_not_grow_with_the_batch(peak: Peak) -> None:
    found = largest(case_of(), Device(peak, refuses=True).attempt, quiet)
    assert peak(found.fits) <= LIMIT
    assert found.fits > 0.9 * by_hand(peak)


def test_no_size_is_tried_far_beyond_one_that_is_known_to_fit() -> None:
    device = Device(linear, refuses=False)
    largest(case_of(), device.attempt, quiet)
    for before, after in zip(device.tried, device.tried[1:], strict=False):
        assert after <= 16 * before
        if after > 2 * before:
            assert linear(after) < 0.6 * LIMIT


def test_small_sizes_are_exact() -> None:
    device = Device(lambda size: size * (LIMIT // 5), refuses=True)
    assert largest(case_of(), device.attempt, quiet).fits == 5


def test_it_begins_where_it_is_told_and_goes_down_from_there() -> None:
    device = Device(lambda size: size * (LIMIT // 5), refuses=True)
    (case,) = from_options({"model": "dense", "device": "cpu", "max_batch": True, "batch_size": 64}, False)
    assert largest(case, device.attempt, quiet).fits == 5
    assert device.tried[0] == 64


def test_a_case_that_needs_two_items_begins_with_two() -> None:
    device = Device(linear, refuses=True)

    def attempt(case: Case) -> Fit | Outcome:
        if case.config.batch_size == 1:
            return Fit(Outcome(status=Status.ERROR, error="batch normalization needs more than one"))
        return device.attempt(case)

    assert largest(case_of(), attempt, quiet).fits > 0.99 * by_hand(linear)


@pytest.mark.parametrize(("begin", "tried"), [(1, [1, 2]), (8, [8, 4, 2, 1, 2])])
def test_a_case_that_fails_with_two_items_too_is_given_up(begin: int, tried: list[int]) -> None:
    sizes: list[int] = []

    def attempt(case: Case) -> Outcome:
        sizes.append(case.config.batch_size)
        return Outcome(status=Status.ERROR, error=f"broken with {sizes[-1]}")

    (case,) = from_options({"model": "dense", "device": "cpu", "max_batch": True, "batch_size": begin}, False)
    found = largest(case, attempt, quiet)
    assert sizes == tried
    assert found.fits == 0
    assert found.why == Outcome(status=Status.ERROR, error="broken with 2")


def test_a_wrong_answer_fits_too() -> None:
    def attempt(case: Case) -> Fit:
        size = case.config.batch_size
        return Fit(Outcome(status=Status.MISMATCH), size * LIMIT // 3, LIMIT)

    assert largest(case_of(), attempt, quiet).fits == 3


def test_where_nothing_tells_the_memory_a_number_has_to_be_given() -> None:
    with pytest.raises(StoppedError, match=r"^batch_size=max is not possible: .*; give a number\.$"):
        Sizes().add(1, Fit(Outcome()))


# Runs


@dataclass
class Workers:
    """Workers on a device; they record the batches that are measured."""

    device: Device
    measured: list[int] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def ask(self, request: Request, watch: Watch, timeout: float | None) -> Answer:
        self.requests.append(request)
        if isinstance(request, Describe):
            return Answer(PLACE)
        if isinstance(request, TryBatch):
            return Answer(self.device.attempt(replace(case_of(), config=request.config)))
        assert isinstance(request, Measure)
        self.measured.append(request.config.batch_size)
        return Answer(OK)

    def close(self) -> None:
        pass


def planned(**options: Any) -> list[Case]:
    defaults = {"model": "dense", "device": "cpu", "measure.rounds": 1, "schedule": "sequential"}
    return from_options(defaults | options, sweep=True)


def five(size: int) -> int:
    return size * (LIMIT // 5)


def batches(result: Result) -> list[tuple[int, bool]]:
    return [(each.case.config.batch_size, each.case.config.max_batch) for each in result.records]


def test_a_sweep_measures_the_batch_that_was_found_and_records_what_was_asked(take: Take) -> None:
    workers, diary = Workers(Device(five, refuses=True)), Diary()
    result = take(planned(batch_size=[1, "max"]), workers, diary)
    assert batches(result) == [(1, False), (5, True)]
    first, second = result.records
    assert "batch_size=5" in second.case.command
    assert "max" not in second.case.command
    assert second.case.id == planned(batch_size=5)[0].at(PLACE.device, CORES).id
    assert first.case.id != second.case.id
    (told,) = [text for kind, text in diary.told if kind == "say"]
    assert told == "dense infer, batch max, eager, cpu: batch_size=5 takes 9.31 GiB of 9.31 GiB"


def test_a_size_is_found_once_for_the_same_work_and_configuration(take: Take) -> None:
    workers = Workers(Device(five, refuses=True))
    result = take(planned(batch_size=["max"], engine=["eager", "compile"], verify=[True, False]), workers)
    assert batches(result) == [(5, True)] * 4
    engines = [each.config.engine.name for each in workers.requests if isinstance(each, TryBatch)]
    assert engines == ["eager"] * (len(engines) // 2) + ["compile"] * (len(engines) // 2)


def test_a_case_that_does_not_fit_at_all_has_the_outcome_of_one_item(take: Take) -> None:
    workers = Workers(Device(lambda size: 2 * LIMIT, refuses=True))
    (record,) = take(planned(batch_size=["max"]), workers).records
    assert (record.outcome.status, record.outcome.error) == (Status.OOM, "out of memory")
    assert batches(Result([record], None)) == [(1, True)]  # type: ignore[arg-type]
    assert workers.measured == []


def test_a_case_that_fails_with_every_batch_is_tried_twice_and_says_why(
    take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(five, refuses=True)
    tried: list[Case] = []

    def attempt(case: Case) -> Outcome:
        tried.append(case)
        return Outcome(status=Status.ERROR, error="no such operator")

    monkeypatch.setattr(device, "attempt", attempt)
    (record,) = take(planned(batch_size=["max"]), Workers(device)).records
    assert len(tried) == 2
    assert (record.outcome.status, record.outcome.error) == (Status.ERROR, "no such operator")


def test_a_run_that_is_completed_keeps_the_size_and_measures_what_is_missing(take: Take) -> None:
    first = Workers(Device(five, refuses=True))
    take(planned(batch_size=["max", 1], **{"measure.rounds": 1}), first)
    again = Workers(Device(five, refuses=True))
    result = take(
        planned(batch_size=["max", 1], **{"measure.rounds": 2}), again, run_id="other", completing=True
    )
    assert again.device.tried == []
    assert again.measured == [5, 1]
    assert sorted(batches(result)) == [(1, False)] * 2 + [(5, True)] * 2


def test_a_size_that_failed_is_looked_for_again(take: Take) -> None:
    take(planned(batch_size=["max"]), Workers(Device(lambda size: 2 * LIMIT, refuses=True)))
    again = Workers(Device(five, refuses=True))
    result = take(planned(batch_size=["max"]), again, completing=True)
    assert again.measured == [5]
    assert result.records[-1].outcome.status is Status.OK
