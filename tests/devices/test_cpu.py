"""The CPU: its clock, its caches, what torch allocates."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from microbench import devices
from microbench.config import Config, DeviceConfig
from microbench.devices import Level, cpu
from microbench.errors import UserError
from microbench.system import cpus, energy


def test_the_hosts_clock_tells_seconds_after_the_first_mark() -> None:
    assert cpu.HostClock().seconds([1_000_000_000, 1_500_000_000, 3_000_000_000]) == [0.0, 0.5, 2.0]


def test_the_hosts_clock_moves_forward_in_nanoseconds() -> None:
    clock = cpu.HostClock()
    first, second = clock.mark(), clock.mark()
    assert isinstance(first, int)
    assert second >= first
    assert clock.seconds([first, second])[0] == 0


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_torch_uses_onednn_or_not_while_prepared(
    asked: bool, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    onednn: Any = torch.backends.mkldnn
    monkeypatch.setattr(onednn, "enabled", before)
    with pytest.raises(KeyError), cpu.Device().prepared(Config(device=DeviceConfig("cpu", asked))):  # noqa: PT012
        assert onednn.enabled is asked
        raise KeyError
    assert onednn.enabled is before


def test_on_a_cpu_the_processors_counters_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = iter(
        [{"package": energy.Reading(5_000_000, 10**9)}, {"package": energy.Reading(9_000_000, 10**9)}]
    )
    monkeypatch.setattr(energy, "readings", lambda: next(counters))
    with cpu.Device().energy() as meter:
        pass
    assert meter.joules == pytest.approx(4.0)


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
def test_the_ledger_tracks_with_and_without_gradients(grad: Any) -> None:
    with grad():
        _, before, after = call(mib)
    assert (before, after) == (Level(0, 0), Level(MIB, MIB))


def test_the_ledger_counts_allocations_of_operators_on_several_threads() -> None:
    layer, x = nn.Linear(512, 1024, bias=False), torch.ones(256, 512)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.no_grad():
            _, _, after = call(lambda: layer(x))
    finally:
        torch.set_num_threads(threads)
    assert after == Level(MIB, MIB)


def test_the_ledger_counts_gradients() -> None:
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


def test_a_running_profiler_is_an_error_and_keeps_running() -> None:
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


class TestEvictor:
    @pytest.fixture
    def written(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The bytes that each call of an evictor on the CPU rewrites."""
        found: list[int] = []
        add = torch.Tensor.add_

        def noting(self: torch.Tensor, other: float) -> torch.Tensor:
            assert self.device.type == "cpu"
            found.append(self.numel() * self.element_size())
            return add(self, other)

        monkeypatch.setattr(torch.Tensor, "add_", noting)
        return found

    @pytest.mark.parametrize(("cache", "size"), [(3 * 2**20, 6 * 2**20), (None, 2 * devices.UNKNOWN_CACHE)])
    def test_twice_the_last_level_of_cache_is_rewritten_each_time(
        self, cache: int | None, size: int, written: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cpus, "last_level_cache", lambda: cache)
        evict = cpu.Device().evictor()
        assert written == []  # its memory is allocated before anything is timed
        evict()
        evict()
        assert written == [size, size]

    @pytest.mark.parametrize("changed", ["dtype", "device"])
    def test_as_much_is_rewritten_on_the_cpu_whatever_torch_makes_by_default(
        self, changed: str, written: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cpus, "last_level_cache", lambda: 3 * 2**20)
        torch.set_default_dtype(torch.float64 if changed == "dtype" else torch.float32)
        try:
            with torch.device("meta" if changed == "device" else "cpu"):
                evict = cpu.Device().evictor()
        finally:
            torch.set_default_dtype(torch.float32)
        evict()
        assert written == [6 * 2**20]
