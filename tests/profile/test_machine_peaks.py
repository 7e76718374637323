from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch
from factory import QUIET
from fakes import FakeClock, FakeDevice
from msgspec.structs import replace

from microbench.devices import cpu, cuda
from microbench.measure.disturbances import Surroundings
from microbench.profile import peaks, peaks_cache
from microbench.records.peaks import Peaks

CPU = torch.device("cpu")
MIB = 2**20
FOUND = Peaks(1e11, 4e11, "conv3x3", "matmul", ((2**18, 8e10), (2**27, 1e10)), 2e-6)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "microbench/peaks.json"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the devices whose peaks were measured, each instantly."""
    names: list[str] = []

    def measure(device: Any) -> Peaks:
        names.append(device.name)
        return replace(FOUND, call_seconds=len(names) * 1e-6)

    monkeypatch.setattr(peaks, "measure", measure)
    return names


def taking(clock: FakeClock, *seconds: float) -> Callable[[], None]:
    """Return a call that takes each of these times in turn, then always the last."""
    left = list(seconds)
    return lambda: clock.advance(left.pop(0) if len(left) > 1 else left[0])


def test_the_fastest_of_many_calls_counts() -> None:
    clock = FakeClock()
    call = taking(clock, 9.0, 0.5, 0.25, 0.125, 0.5)
    assert peaks.fastest(clock, call, lasting=3.0) == 0.125


def test_a_first_call_does_not_count_because_it_may_prepare() -> None:
    clock = FakeClock()
    assert peaks.fastest(clock, taking(clock, 2**-10, 0.5), lasting=1.0) == 0.5


def test_several_short_calls_are_timed_at_once() -> None:
    clock, calls = FakeClock(), 0
    marks = []

    def call() -> None:
        nonlocal calls
        calls += 1
        clock.advance(2**-19)

    def mark() -> float:
        marks.append(calls)
        return clock.time

    clock.mark = mark  # type: ignore[method-assign]
    assert peaks.fastest(clock, call, lasting=0.001) == 2**-19
    assert marks[-1] - marks[-2] == 11  # of about 2 µs each, 20 µs in total


Probe = Callable[[object, float], peaks.Work]


def at_a_rate(clock: FakeClock, name: str, rate: Callable[[float], float], done: list[float]) -> Probe:
    """Return a probe with given FLOP/s by its amount of work, which records the amounts."""

    def probe(draw: object, amount: float) -> peaks.Work:
        done.append(amount)
        return peaks.Work(lambda: clock.advance(amount / rate(amount)), amount, 1)

    probe.__name__ = name
    return probe


def products(clock: FakeClock, dtype: torch.dtype = torch.float32) -> peaks.Products:
    return peaks.Products(clock, CPU, dtype, most=2**40)


def test_the_fastest_kind_of_product_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()

    def none(draw: object, amount: float) -> peaks.Work:
        raise NotImplementedError("no kernel")

    slow, quick = (
        at_a_rate(clock, name, lambda amount, rate=rate: rate, [])  # type: ignore[misc]
        for name, rate in (("slow", 2.0**30), ("quick", 2.0**31))
    )
    monkeypatch.setattr(peaks, "PROBES", (none, slow, quick, slow))
    assert products(clock).best(1.0) == (2.0**31, "quick")
    monkeypatch.setattr(peaks, "PROBES", (none,))
    assert products(clock).best(1.0) == (0.0, "")


def test_work_is_enlarged_until_a_call_takes_long_and_starts_that_large_next_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, done = FakeClock(), list[float]()
    monkeypatch.setattr(peaks, "PROBES", (at_a_rate(clock, "growing", lambda amount: 2.0**24, done),))
    monkeypatch.setattr(peaks, "LEAST_FLOPS", 2**18)
    again = products(clock)
    assert again.best(1.0) == (2.0**24, "growing")
    assert done == [2.0**18, 2.0**20, 2.0**22, 2.0**24]  # the last takes a second
    assert again.best(1.0) == (2.0**24, "growing")
    assert done[4:] == [2.0**24]


@pytest.mark.parametrize("rate", [1e3, 1e6, 6e8, 1e12])
def test_work_that_must_take_longer_is_not_started(rate: float) -> None:
    """However slow a format is, and although larger products are four times as slow per FLOP."""
    clock, done = FakeClock(), list[float]()
    probe = at_a_rate(clock, "p", lambda amount: rate / 4 if amount > 2**20 else rate, done)
    work, seconds = peaks.enlarged(clock, lambda amount: probe(None, amount), 2**10, long=1.0, most=2**40)
    assert max(done[1:], default=0.0) / rate <= 1.001
    expected = work.amount / (rate / 4 if work.amount > 2**20 else rate)
    assert seconds == pytest.approx(expected, rel=0.01)
    assert peaks.ENOUGH <= seconds <= 4.0


@pytest.mark.parametrize("stalled", [1, 3])
def test_work_that_other_work_slows_is_enlarged_anyway(stalled: int) -> None:
    clock = FakeClock()

    def make(amount: float) -> peaks.Work:
        seconds = amount / 2**24
        return peaks.Work(taking(clock, *[seconds + 0.3] * stalled, seconds), amount, 1)

    work, seconds = peaks.enlarged(clock, make, 2**18, long=1.0, most=2**40)
    assert work.amount / seconds == pytest.approx(2**24)
    assert seconds >= peaks.ENOUGH


@pytest.mark.parametrize("fails", [True, False])
def test_work_is_enlarged_as_far_as_memory_allows(fails: bool) -> None:
    clock = FakeClock()

    def make(amount: float) -> peaks.Work:
        if fails and amount > 2**20:
            raise torch.OutOfMemoryError
        return peaks.Work(lambda: clock.advance(amount / 2**30), amount, int(amount))

    work, seconds = peaks.enlarged(clock, make, 2**18, long=1.0, most=2**40 if fails else 2**20)
    assert work.amount == 2**20
    assert seconds == 2**-10


@pytest.mark.parametrize(
    ("known", "share", "expected"),
    [(True, 0.9, True), (None, 0.9, False), (None, 0.1, True), (False, 0.1, True), (False, 2.0, False)],
)
def test_a_format_is_emulated_if_that_is_known_or_if_it_is_much_slower(
    known: bool | None, share: float, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is then measured only in brief calls, and has no peak."""
    device = FakeDevice()
    clock, longest = device.clock, 0.0

    def probe(draw: peaks.Draw, amount: float) -> peaks.Work:
        is_bf16 = draw(1).dtype == torch.bfloat16
        seconds = amount / (1e12 * (share if is_bf16 else 1))

        def call() -> None:
            nonlocal longest
            longest = max(longest, seconds if is_bf16 else 0.0)
            clock.advance(seconds)

        return peaks.Work(call, amount, 1)

    probe.__name__ = "only"
    monkeypatch.setattr(peaks, "PROBES", (probe,))
    monkeypatch.setattr(peaks.arithmetic, "is_emulated", lambda name, device: name == "bfloat16" and known)
    monkeypatch.setattr(peaks, "bandwidths", lambda clock, place, most: ())
    threads = torch.get_num_threads()
    found = peaks.measure(device)
    assert torch.get_num_threads() == threads
    assert found.fp32 == pytest.approx(1e12)
    if expected:
        assert [name for name, _ in found.emulated] == ["bfloat16"]
        assert found.emulated[0][1] == pytest.approx(share * 1e12)
        assert (found.bf16, found.bf16_by) == (None, "")
        assert longest <= 1.01 * peaks.BRIEF
    else:
        assert found.emulated == ()
        assert found.bf16 == pytest.approx(share * 1e12)
        assert found.bf16_by == "only"


@pytest.fixture(params=[torch.float64, torch.float16])
def default_dtype(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set torch's defaults to that type, and to no device."""
    torch.set_default_dtype(request.param)
    try:
        with torch.device("meta"):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("default_dtype")
def test_probes_ignore_torchs_default_type_and_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[torch.Tensor] = []

    def fastest(clock: object, call: Callable[[], torch.Tensor], lasting: float) -> float:
        made.append(call())
        return 2**-10

    monkeypatch.setattr(peaks, "fastest", fastest)
    rates = list(peaks.bandwidths(FakeClock(), CPU, MIB))
    assert rates[-1] == (MIB, 1024 * MIB)
    assert made[-2].nbytes == MIB // 2
    peaks.call_of_nothing(FakeClock(), CPU)
    made.append(peaks.Draw(CPU, torch.bfloat16)(2))
    assert {each.device for each in made} == {CPU}
    assert [each.dtype for each in made[-3:]] == [torch.float32, torch.float32, torch.bfloat16]


@pytest.mark.parametrize("probe", peaks.PROBES)
def test_a_probe_does_the_number_of_operations_that_it_states(probe: Any) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    for amount in (peaks.LEAST_FLOPS, 2**25, 2**30):
        work = probe(peaks.Draw(CPU, torch.float32), amount)
        with FlopCounterMode(display=False) as counter:
            work.call()
        assert counter.get_total_flops() == work.amount
        assert amount / 2.5 <= work.amount <= 1.6 * amount
        assert probe(peaks.Draw(CPU, torch.float32), work.amount).amount == work.amount


def test_memory_is_moved_at_doubling_sizes_up_to_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fastest(clock: object, call: Callable[[], Any], lasting: float) -> float:
        asked.append(call().numel() * 4)
        return 2**-9 if asked[-1] > 4 else 2**-10  # the call that only reads is faster

    monkeypatch.setattr(peaks, "fastest", fastest)
    found = list(peaks.bandwidths(FakeClock(), CPU, 3 * MIB // 2))
    assert found == [(size, 1024.0 * size) for size in (MIB // 4, MIB // 2, MIB, 3 * MIB // 2)]
    assert asked[::2] == [size // 2 for size, _ in found]  # one half is copied over the other
    assert asked[1::2] == [4] * len(found)  # a sum


def test_a_size_that_was_disturbed_is_as_fast_as_a_larger_one_shows() -> None:
    rates = ((1, 8.0), (2, 0.001), (4, 4.0), (8, 0.5))  # 4 bytes take a second, so 2 take no longer
    assert peaks.evened(rates) == ((1, 8.0), (2, 2.0), (4, 4.0), (8, 0.5))
    assert peaks.evened(()) == ()


def test_memory_is_moved_in_calls_that_do_not_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "fastest", lambda clock, call, lasting: peaks.ENOUGH * peaks.LONG)
    assert [size for size, _ in peaks.bandwidths(FakeClock(), CPU, 2**30)] == [peaks.LEAST_BYTES]


@pytest.mark.parametrize(
    ("cache", "memory", "limit", "most"),
    [
        (32 * MIB, 2**36, None, 128 * MIB),
        (32 * MIB, 2**29, None, 64 * MIB),
        (32 * MIB, 2**36, 2**28, 32 * MIB),
        (32 * MIB, None, None, 128 * MIB),
        (2**40, None, None, peaks.UNKNOWN_MEMORY // 8),
        (0, 2**36, None, peaks.LEAST_BYTES),
    ],
)
def test_the_largest_size_exceeds_the_caches_but_not_the_memory(
    cache: int, memory: int | None, limit: int | None, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peaks.machine, "memory", lambda: memory)
    monkeypatch.setattr(peaks.cgroups, "memory_limit", lambda: limit)

    class Cached(FakeDevice):
        def cache(self) -> int:
            return cache

    assert peaks.largest(Cached()) == most


@pytest.mark.parametrize(
    ("cache", "memory", "most"),
    [
        (50 * MIB, 80 * 2**30, 2**30),  # 1 GiB is more than 16 caches
        (100 * MIB, 80 * 2**30, 1600 * MIB),
        (50 * MIB, 4 * 2**30, 2**29),  # an eighth of the GPU's memory
    ],
)
def test_on_a_gpu_the_largest_size_depends_on_its_own_cache_and_memory(
    cache: int, memory: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = SimpleNamespace(L2_cache_size=cache, total_memory=memory)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(peaks.machine, "memory", lambda: 2**20)  # the host's does not matter
    assert peaks.largest(cuda.Device()) == most


def test_a_device_with_tf32_and_fp16_has_their_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that products in fp32, TF32, bf16 and fp16 move by different rates."""
    rates = {torch.float32: 1e12, torch.bfloat16: 16e12, torch.float16: 15e12}

    class WithTensorCores(FakeDevice):
        peaks = ("fp16", "tf32")
        speedup = 1.0

        @contextmanager
        def tf32(self) -> Iterator[None]:
            self.speedup = 8.0
            yield
            self.speedup = 1.0

    device = WithTensorCores()

    def probe(draw: peaks.Draw, amount: float) -> peaks.Work:
        rate = rates[draw(1).dtype] * device.speedup
        return peaks.Work(lambda: device.clock.advance(amount / rate), amount, 1)

    probe.__name__ = "only"
    monkeypatch.setattr(peaks, "PROBES", (probe,))
    monkeypatch.setattr(peaks.arithmetic, "is_emulated", lambda name, device: False)
    monkeypatch.setattr(peaks, "bandwidths", lambda clock, place, most: ())
    found = peaks.measure(device)
    assert [(name, pytest.approx(rate), by) for name, rate, by in found.products] == [
        ("fp32", 1e12, "only"),
        ("tf32", 8e12, "only"),
        ("bf16", 16e12, "only"),
        ("fp16", 15e12, "only"),
    ]
    assert (found.arithmetic("float16"), found.arithmetic("float32")) == (found.fp16, found.fp32)


def test_the_peaks_of_a_gpu_are_its_own_and_not_of_cpus_or_threads(
    cache: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts: dict[str, Any] = {"gpu": "Some GPU", "gpu_uuid": "GPU-1", "gpu_power_limit": 700.0}
    facts["gpu_pstate"] = "P0"
    monkeypatch.setattr(cuda.Device, "describe", lambda self: facts)
    same = (
        ("microbench.system.cpus.usable", lambda: {0}),
        ("microbench.system.cgroups.cpu_quota", lambda: 0.5),
        ("torch.get_num_threads", lambda: 99),
    )
    peaks.peaks(cuda.Device())
    for change in same:
        monkeypatch.setattr(*change)
        peaks.peaks(cuda.Device())
    facts["gpu_pstate"] = "P8"  # at rest
    peaks.peaks(cuda.Device())
    assert len(measured) == 1
    for name, value in {"gpu_uuid": "GPU-2", "gpu_power_limit": 350.0, "gpu_mig": True}.items():
        facts[name] = value
        peaks.peaks(cuda.Device())
    assert len(measured) == 4


def test_measuring_finds_every_peak_and_leaves_torchs_state_unchanged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peaks, "LONG", 1e-5)
    monkeypatch.setattr(peaks, "BRIEF", 1e-5)
    monkeypatch.setattr(peaks, "LASTING", dict.fromkeys(peaks.LASTING, 0.0))
    monkeypatch.setattr(peaks, "largest", lambda device: MIB)
    random, grad = torch.get_rng_state(), torch.is_grad_enabled()
    with torch.autocast("cpu", torch.bfloat16):
        found = peaks.measure(cpu.Device())
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled() == grad
    assert found.fp32 is not None
    assert {found.fp32_by, found.bf16_by} <= {probe.__name__ for probe in peaks.PROBES} | {""}
    sizes = [size for size, _ in found.bandwidths]
    assert sizes[0] == peaks.LEAST_BYTES
    assert sizes == sorted(set(sizes))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Peaks) == found


@pytest.mark.parametrize("disturbed", [True, False])
def test_the_best_of_several_passes_counts(disturbed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([1e11, 3e11, 2e11])
    assert peaks.PASSES == 3
    monkeypatch.setattr(peaks, "_pass", lambda products, tf32, device: replace(FOUND, fp32=next(looks)))
    monkeypatch.setattr(peaks, "disturbed", lambda sensors: disturbed)
    assert peaks.measure(cpu.Device()) == replace(FOUND, fp32=3e11, disturbed=disturbed)


def test_slow_passes_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    device, looks = FakeDevice(), []

    def look(products: object, tf32: object, given: FakeDevice) -> Peaks:
        given.clock.advance(peaks.LONGEST / 2)
        looks.append(given)
        return FOUND

    monkeypatch.setattr(peaks, "_pass", look)
    peaks.measure(device)
    assert len(looks) == 2


def busy(waited: float, foreign: float) -> Any:
    """Return sensors of a process whose threads waited, in seconds per second, for `foreign` busy CPUs."""
    readings = replace(QUIET, sampling_seconds=2.0, run_delay=waited, foreign_cpus=foreign)
    around = Surroundings(2, 2, None, "glibc", ["powersave"], True, False)
    return SimpleNamespace(readings=lambda calls: readings, surroundings=lambda threads, allocator: around)


def test_other_work_disturbs_but_the_machines_setup_does_not() -> None:
    assert peaks.disturbed(busy(waited=0.5, foreign=1.0))
    assert not peaks.disturbed(busy(waited=0.0, foreign=0.0))


def test_a_clock_that_stands_still_gives_no_peaks() -> None:
    found = peaks.measure(FakeDevice())
    assert (found.fp32, found.bf16, found.bandwidths) == (None, None, ())


class TestKept:
    def ask(self, refresh: bool = False) -> Peaks:
        return peaks.peaks(cpu.Device(), refresh)

    @pytest.fixture(autouse=True)
    def _measured(self, cache: Path, measured: list[str]) -> None:
        self.cache, self.names = cache, measured

    def test_peaks_are_measured_once(self) -> None:
        assert self.ask() == self.ask()
        assert self.names == ["cpu"]

    def test_a_refresh_measures_again(self) -> None:
        first, second = self.ask(), self.ask(refresh=True)
        assert first != second
        assert self.ask() == second
        assert len(self.names) == 2

    def test_disturbed_peaks_are_not_stored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        disturbed = replace(FOUND, disturbed=True)
        monkeypatch.setattr(peaks, "measure", lambda device: disturbed)
        assert self.ask() == disturbed
        assert not self.cache.exists()

    def test_each_number_of_threads_has_its_own_peaks(self) -> None:
        before = torch.get_num_threads()
        try:
            for count in (1, 2, 1, 2):
                torch.set_num_threads(count)
                self.ask()
        finally:
            torch.set_num_threads(before)
        assert len(self.names) == 2

    @pytest.mark.parametrize("which", ["cuda.matmul", "cudnn.conv", "mkldnn.matmul", "mkldnn.conv"])
    def test_fp32_products_in_another_precision_have_their_own_peaks(self, which: str) -> None:
        library, _, operation = which.partition(".")
        state = getattr(getattr(torch.backends, library), operation)
        before = state.fp32_precision
        try:
            for state.fp32_precision in ("ieee", "tf32", "ieee", "tf32"):
                self.ask()
        finally:
            state.fp32_precision = before
        assert len(self.names) == 2

    def test_torch_without_onednn_has_its_own_peaks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for enabled in (True, False, True, False):
            monkeypatch.setattr(torch.backends.mkldnn, "enabled", enabled)
            self.ask()
        assert len(self.names) == 2

    @pytest.mark.parametrize(
        "change",
        [
            ("microbench.system.machine.host_id", lambda: "another"),
            ("microbench.system.cpus.usable", lambda: {0}),
            ("microbench.system.cgroups.cpu_quota", lambda: 0.5),
            ("microbench.devices.cpu.Device.describe", lambda self: {"cpu_capability": "DEFAULT"}),
            ("torch.__version__", "3.0"),
            ("microbench.devices.cpu.LIMITS", ("PATH",)),
        ],
    )
    def test_each_machine_has_its_own_peaks(
        self, change: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.ask()
        monkeypatch.setattr(*change)
        self.ask()
        self.ask()
        assert len(self.names) == 2
        monkeypatch.undo()

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "{}",
            "3",
            "null",
            '[{"of": {}}]',
            "[1, null, []]",
            "\ud800",
            '[{"of": 1, "peaks": 2}]',
        ],
    )
    def test_a_broken_file_is_replaced(self, text: str) -> None:
        self.cache.parent.mkdir(parents=True)
        self.cache.write_bytes(text.encode("utf-8", "surrogatepass"))
        first = self.ask()
        assert self.ask() == first
        assert self.names == ["cpu"]

    def test_broken_peaks_in_a_valid_file_are_measured_again(self) -> None:
        self.ask()
        entries = json.loads(self.cache.read_text())
        entries[0]["peaks"]["fp32"] = "fast"
        self.cache.write_text(json.dumps(entries))
        self.ask()
        self.ask()
        assert len(self.names) == 2
        assert len(json.loads(self.cache.read_text())) == 1

    def test_peaks_that_cannot_be_written_are_measured_each_time(self) -> None:
        self.cache.parent.write_text("a file where the folder would be")
        self.ask()
        self.ask()
        assert len(self.names) == 2

    def test_a_user_without_a_home_gets_peaks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def home() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", home)
        self.ask()
        assert self.names == ["cpu"]

    def test_only_complete_files_are_ever_visible_and_none_is_left_over(self) -> None:
        def write(number: int) -> None:
            for _ in range(20):
                peaks_cache.write({"number": number}, FOUND)
                json.loads(self.cache.read_text())

        threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert [path.name for path in self.cache.parent.iterdir()] == ["peaks.json"]
        assert any(peaks_cache.read({"number": number}) == FOUND for number in range(3))


def test_the_file_is_in_the_home_folder_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert peaks_cache.place() == Path.home() / ".cache/microbench/peaks.json"
