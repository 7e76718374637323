from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fakes import FakeDevice
from torch import nn

from microbench.devices import Level, cpu, cuda
from microbench.errors import UserError

MIB = 2**20


def mib(count: int = 1) -> torch.Tensor:
    return torch.empty(count * MIB, dtype=torch.uint8)


def test_what_is_kept_counts_and_what_is_freed_does_not() -> None:
    with cpu.Device().ledger() as ledger:
        ledger.note()
        kept = mib()
        ledger.note()
        freed = mib(2)
        del freed
        ledger.note()
        more = mib(3)
        ledger.note()
        del kept
        ledger.note()
        del more
        ledger.note()
    assert ledger.levels() == [
        Level(0, 0),
        Level(MIB, MIB),
        Level(MIB, 3 * MIB),
        Level(4 * MIB, 4 * MIB),
        Level(3 * MIB, 4 * MIB),
        Level(0, 3 * MIB),
    ]


def test_a_peak_is_the_most_since_the_note_before() -> None:
    with cpu.Device().ledger() as ledger:
        first, second = mib(), mib(2)
        del first, second
        third = mib(2)
        ledger.note()
        ledger.note()
        fourth = mib()
        del third, fourth
        ledger.note()
    assert ledger.levels() == [Level(2 * MIB, 3 * MIB), Level(2 * MIB, 2 * MIB), Level(0, 3 * MIB)]


def test_temporaries_of_an_operator_are_part_of_its_peak() -> None:
    x = torch.ones(MIB // 4)
    with cpu.Device().ledger() as ledger:
        y = x.exp() * x.neg()  # both factors and the product
        ledger.note()
    assert y.numel() == x.numel()
    assert ledger.levels() == [Level(MIB, 3 * MIB)]


def call(work: Callable[[], Any]) -> Any:
    with cpu.Device().ledger() as ledger:
        ledger.note()
        result = work()
        ledger.note()
    before, after = ledger.levels()
    return result, before, after


@pytest.mark.parametrize("grad", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_it_follows_with_and_without_gradients(grad: Any) -> None:
    with grad():
        _, before, after = call(mib)
    assert (before, after) == (Level(0, 0), Level(MIB, MIB))


def test_it_sees_what_operators_on_several_threads_allocate() -> None:
    layer, x = nn.Linear(512, 1024, bias=False), torch.ones(256, 512)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.no_grad():
            _, _, after = call(lambda: layer(x))
    finally:
        torch.set_num_threads(threads)
    assert after == Level(MIB, MIB)


def test_it_sees_gradients() -> None:
    weight = torch.ones(MIB // 4, requires_grad=True)
    _, _, after = call(lambda: weight.exp().sum().backward())
    assert weight.grad is not None
    assert after.allocated == MIB
    assert after.peak >= 2 * MIB


def test_memory_from_before_is_no_part_of_it() -> None:
    before = [mib(5)]
    with cpu.Device().ledger() as ledger:
        before.clear()
        ledger.note()
    assert ledger.levels() == [Level(0, 0)]


def test_an_earlier_ledgers_tensors_are_not_taken_off_a_later_ones_level() -> None:
    kept, _, _ = call(mib)
    with cpu.Device().ledger() as ledger:
        del kept
        ledger.note()
    assert ledger.levels() == [Level(0, 0)]


def test_thousands_of_notes_are_all_answered_in_their_order() -> None:
    count, kept = 5000, []
    with torch.inference_mode(), cpu.Device().ledger() as ledger:
        for _ in range(count):
            kept.append(torch.empty(16, dtype=torch.uint8))
            ledger.note()
    assert ledger.levels() == [Level(16 * n, 16 * n) for n in range(1, count + 1)]


def test_notes_within_operators_and_modules_fall_between_what_these_allocate() -> None:
    ledger = cpu.Device().ledger()

    class Noting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            negative = -x
            ledger.note()
            return negative.exp()

    x = torch.ones(MIB // 4)
    with ledger, torch.profiler.record_function("outer"):
        y = Noting()(x)
        ledger.note()
    assert y.numel() == x.numel()
    assert ledger.levels() == [Level(MIB, MIB), Level(MIB, 2 * MIB)]


def profiling() -> bool:
    return torch._C._autograd._profiler_enabled()


def test_an_error_within_leaves_no_profiler_running_and_what_was_noted() -> None:
    ledger = cpu.Device().ledger()
    with pytest.raises(KeyError), ledger:  # noqa: PT012
        kept = mib()
        ledger.note()
        raise KeyError
    assert not profiling()
    assert ledger.levels() == [Level(kept.numel(), kept.numel())]
    assert call(mib)[2] == Level(MIB, MIB)


def test_beside_the_users_own_profiler_it_says_so_and_leaves_that_running() -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as users:
        ledger = cpu.Device().ledger()
        with pytest.raises(UserError, match=r"^Memory cannot be measured while torch's profiler is running"):
            ledger.__enter__()
        assert profiling()
        mib()
    assert "aten::empty" in {event.key for event in users.key_averages()}


def test_nothing_is_written_and_the_environment_stays_as_it_was() -> None:
    script = (
        "import os; before = dict(os.environ); from microbench.devices import cpu\n"
        "with cpu.Device().ledger() as ledger: ledger.note()\n"
        "assert dict(os.environ) == before; print(len(ledger.levels()))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "KINETO_LOG_LEVEL"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert (done.stdout.strip(), done.stderr) == ("1", "")


class Allocator:
    """The counters of a caching allocator."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.level = self.peak = 0
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: self.level)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: self.peak)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", self.reset)

    def change(self, *by: int) -> None:
        for each in by:
            self.level += each
            self.peak = max(self.peak, self.level)

    def reset(self) -> None:
        self.peak = self.level


def test_on_a_gpu_it_reads_the_caching_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    allocator = Allocator(monkeypatch)
    allocator.change(100, -60)
    with cuda.Device().ledger() as ledger:
        ledger.note()
        allocator.change(10, 20, -20)
        ledger.note()
        allocator.change(-40)
        ledger.note()
        allocator.change(5)
        ledger.note()
    allocator.change(1000)
    assert ledger.levels() == [Level(0, 0), Level(10, 30), Level(-30, 10), Level(-25, -25)]


def test_on_the_fake_device_nothing_is_ever_allocated() -> None:
    with FakeDevice().ledger() as ledger:
        ledger.note()
        mib()
        ledger.note()
    assert ledger.levels() == [Level(0, 0), Level(0, 0)]


def test_a_gpus_peak_leaves_out_what_is_used_and_freed_while_it_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    allocator = Allocator(monkeypatch)
    allocator.change(100)
    meter = cuda.Device().memory()
    allocator.change(30, -20)
    with meter.paused():
        allocator.change(1000, -1000)
    assert meter.peak() == 30  # of before
    allocator.change(40, -40)
    assert meter.peak() == 50
