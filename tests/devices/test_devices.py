from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from microbench import devices
from microbench.devices import cpu, cuda, fake
from microbench.errors import UserError


def test_auto_is_the_first_device_that_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.Device, "unusable", lambda self: None)
    assert isinstance(devices.open_device("auto"), cuda.Device)
    monkeypatch.setattr(cuda.Device, "unusable", lambda self: "no GPU")
    assert isinstance(devices.open_device("auto"), cpu.Device)


def test_a_device_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.Device, "unusable", lambda self: "no GPU; use device=cpu")
    with pytest.raises(UserError, match=r"^device=cuda cannot be used here: no GPU; use device=cpu\.$"):
        devices.open_device("cuda")


def test_the_clocks_tell_seconds_after_the_first_mark() -> None:
    assert cpu.HostClock().seconds([1_000_000_000, 1_500_000_000, 3_000_000_000]) == [0.0, 0.5, 2.0]
    clock = fake.FakeClock()
    clock.advance(1.0)
    marks = [clock.mark()]
    clock.advance(0.5)
    marks.append(clock.mark())
    assert clock.seconds(marks) == [0.0, 0.5]
    assert clock.now() == 1.5


def test_the_hosts_clock_moves_forward_in_nanoseconds() -> None:
    clock = cpu.HostClock()
    first, second = clock.mark(), clock.mark()
    assert isinstance(first, int)
    assert second >= first
    assert clock.seconds([first, second])[0] == 0


def test_the_fake_device_is_for_tests_only() -> None:
    reason = fake.Device().unusable()
    assert reason
    with pytest.raises(UserError, match=rf"^device=fake cannot be used here: {reason}\.$"):
        devices.open_device("fake")


class StubEvent:
    """A CUDA event on a GPU that takes a quarter of a millisecond more at each recording."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.at: float | None = None
        gpu.created += 1

    def record(self) -> None:
        self.gpu.milliseconds += 0.25 * (self.gpu.recorded + 1)
        self.gpu.recorded += 1
        self.at = self.gpu.milliseconds

    def synchronize(self) -> None:
        self.gpu.waited_for.append(self)

    def elapsed_time(self, end: StubEvent) -> float:
        assert self.gpu.waited_for, "nobody waited for the GPU"
        assert self.at is not None
        assert end.at is not None
        return end.at - self.at


class Gpu:
    def __init__(self) -> None:
        self.created = self.recorded = 0
        self.milliseconds = 0.0
        self.waited_for: list[StubEvent] = []


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu = Gpu()
    monkeypatch.setattr(cuda, "_event", lambda: StubEvent(gpu))
    return gpu


def test_the_gpus_clock_tells_seconds_after_the_first_mark_once_the_last_has_passed(gpu: Gpu) -> None:
    clock = cuda.EventClock()
    marks: list[Any] = [clock.mark() for _ in range(3)]
    assert clock.seconds(marks) == [0.0, 0.5 * 1e-3, 1.25 * 1e-3]
    assert gpu.waited_for == [marks[-1]]


def test_the_gpus_clock_uses_its_events_again(gpu: Gpu) -> None:
    clock = cuda.EventClock()
    first: list[Any] = [clock.mark() for _ in range(3)]
    assert len(set(map(id, first))) == 3  # none is used again before its time has been read
    clock.seconds(first)
    second: list[Any] = [clock.mark() for _ in range(3)]
    assert set(map(id, second)) == set(map(id, first))
    assert (gpu.created, gpu.recorded) == (3, 6)
    assert clock.seconds(second) == [0.0, 1.25 * 1e-3, 2.75 * 1e-3]  # the new times, not the old ones
    marks: list[Any] = [clock.mark() for _ in range(4)]
    assert len(set(map(id, marks))) == 4
    assert gpu.created == 4


def fp32_precisions() -> list[str]:
    backends: Any = torch.backends
    return [each.fp32_precision for each in (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)]


@pytest.fixture
def tf32() -> Iterator[list[str]]:
    """Let the user have allowed TF32 for some products."""
    backends: Any = torch.backends
    before = fp32_precisions()
    wanted = ["tf32", "tf32", "ieee"]
    each = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    for backend, precision in zip(each, wanted, strict=True):
        backend.fp32_precision = precision
    yield wanted
    for backend, precision in zip(each, before, strict=True):
        backend.fp32_precision = precision


@pytest.mark.parametrize("fails", [False, True])
def test_products_on_the_gpu_are_in_full_fp32_and_threads_set_while_prepared(
    fails: bool, tf32: list[str]
) -> None:
    assert fp32_precisions() == tf32
    threads = torch.get_num_threads()
    try:
        with cuda.Device().prepared(threads + 1):
            assert fp32_precisions() == ["ieee"] * 3
            assert torch.get_num_threads() == threads + 1
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert fp32_precisions() == tf32
    assert torch.get_num_threads() == threads
