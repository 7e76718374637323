"""The GPU, on stubs of what torch and NVML tell of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pynvml
import pytest
import torch
from fake_nvml import State

from microbench import devices
from microbench.config import Config, DeviceConfig, PrecisionConfig
from microbench.devices import Level, cpu, cuda
from microbench.devices.cuda import clock
from microbench.errors import SkippedError, UserError
from microbench.records.record import Machine
from microbench.system import cpus


class StubEvent:
    """A CUDA event on a GPU that takes a quarter of a millisecond more at each recording."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.at: float | None = None
        gpu.created += 1

    def record(self, stream: str) -> None:
        assert stream == "current"
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
        self.asked = 0

    def current_stream(self) -> str:
        self.asked += 1
        return "current"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu = Gpu()
    monkeypatch.setattr(clock, "_event", lambda: StubEvent(gpu))
    monkeypatch.setattr(torch.cuda, "current_stream", gpu.current_stream)
    return gpu


def test_the_gpus_clock_tells_seconds_after_the_first_mark_once_the_last_has_passed(gpu: Gpu) -> None:
    events = clock.EventClock()
    marks: list[Any] = [events.mark() for _ in range(3)]
    assert events.seconds(marks) == [0.0, 0.5 * 1e-3, 1.25 * 1e-3]
    assert gpu.waited_for == [marks[-1]]


def test_the_gpus_clock_uses_its_events_again(gpu: Gpu) -> None:
    events = clock.EventClock()
    first: list[Any] = [events.mark() for _ in range(3)]
    assert len(set(map(id, first))) == 3  # none is used again before its time has been read
    events.seconds(first)
    second: list[Any] = [events.mark() for _ in range(3)]
    assert set(map(id, second)) == set(map(id, first))
    assert (gpu.created, gpu.recorded) == (3, 6)
    assert events.seconds(second) == [0.0, 1.25 * 1e-3, 2.75 * 1e-3]  # the new times, not the old ones
    marks: list[Any] = [events.mark() for _ in range(4)]
    assert len(set(map(id, marks))) == 4
    assert gpu.created == 4


def test_the_gpus_clock_asks_for_the_current_stream_once_for_all_marks_that_are_read_together(
    gpu: Gpu,
) -> None:
    events = clock.EventClock()
    for _ in range(2):
        marks: list[Any] = [events.mark() for _ in range(5)]
        events.seconds(marks)
    assert gpu.asked == 2


def test_the_times_of_many_marks_are_summed_with_more_digits_than_cuda_tells_them(gpu: Gpu) -> None:
    events = clock.EventClock()
    marks: list[Any] = [events.mark() for _ in range(3)]
    marks[0].at, marks[1].at, marks[2].at = 0.0, 8000.0, 8000.000032  # ms: a float32 ends at 8000.0
    coarse: Any = StubEvent.elapsed_time
    StubEvent.elapsed_time = lambda self, end: float(np.float32(coarse(self, end)))  # type: ignore[assignment]
    try:
        times = events.seconds(marks)
    finally:
        StubEvent.elapsed_time = coarse
    assert times[2] - times[1] == pytest.approx(32e-9, rel=0.05)


def test_the_events_of_a_graph_are_not_used_for_other_marks(gpu: Gpu) -> None:
    events, of_graph = clock.EventClock(), StubEvent(gpu)
    of_graph.record("current")
    mark: Any = events.mark()
    events.seconds([of_graph, mark])  # type: ignore[list-item]
    again: list[Any] = [events.mark(), events.mark()]
    assert of_graph not in again
    assert mark in again


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


def of(device: str, precision: str = "fp32", mkldnn: bool = True) -> Config:
    return Config(device=DeviceConfig(device, mkldnn), precision=PrecisionConfig(precision))


@pytest.mark.parametrize(
    ("precision", "products"), [("fp32", "ieee"), ("bf16", "ieee"), ("amp_fp16", "ieee"), ("tf32", "tf32")]
)
@pytest.mark.parametrize("fails", [False, True])
def test_products_on_the_gpu_are_in_full_fp32_or_in_tf32_while_prepared(
    precision: str, products: str, fails: bool, tf32: list[str]
) -> None:
    assert fp32_precisions() == tf32
    try:
        with cuda.Device().prepared(of("cuda", precision)):
            assert fp32_precisions() == [products] * 3
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert fp32_precisions() == tf32


def test_on_the_host_no_products_on_a_gpu_are_touched(tf32: list[str]) -> None:
    with cpu.Device().prepared(of("cpu")):
        assert fp32_precisions() == tf32


def test_without_onednn_a_gpu_would_do_nothing_else() -> None:
    line = r"^device\.mkldnn=false is an option of device=cpu: device=cuda does not use oneDNN\.$"
    with pytest.raises(UserError, match=line), cuda.Device().prepared(of("cuda", mkldnn=False)):
        pass


@pytest.fixture
def seen(gpus: State, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The second of two GPUs, the only one that torch sees."""
    gpu = gpus.gpu[1]
    properties = SimpleNamespace(
        uuid=gpu.uuid.decode().removeprefix("GPU-"), name="Fake H100", total_memory=7, major=9, minor=0
    )
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    return gpu


def test_a_gpus_counter_is_that_of_the_one_that_torch_sees(gpus: State, seen: Any) -> None:
    gpus.gpu[0].energy, seen.energy = 99_000, 5_500
    with cuda.Device().counter() as counter:
        assert counter is not None
        assert counter.energy() == 5.5
        assert gpus.opened == 1
    assert gpus.opened == 0


def test_without_nvml_there_is_no_counter(gpus: State, seen: Any) -> None:
    gpus.fails = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
    with cuda.Device().counter() as counter:
        assert counter is None


def test_a_gpu_is_described_by_torch_nvml_and_the_environment(
    seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    monkeypatch.setattr(cuda, "tick_of", lambda clock, place: 32e-9)
    told = cuda.Device().describe()
    assert (told["gpu"], told["gpu_uuid"]) == ("Fake H100", seen.uuid.decode())
    assert (told["gpu_capability"], told["gpu_driver"]) == ("9.0", "580.0")
    assert (told["gpu_power_limit"], told["gpu_pcie"]) == (700.0, "gen 5 x16")
    assert told["cuda_alloc_conf"] == "expandable_segments:True"
    assert told["nvidia_tf32_override"] == "0"
    known = set(Machine.__struct_fields__)
    assert set(told) <= known


def test_the_cpus_near_a_gpu_are_those_that_this_process_may_use(
    seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    usable = cpus.usable()
    seen.near[0] = sum(1 << cpu for cpu in usable if cpu < 64) | 1 << 63
    assert cuda.Device().near_cpus() == {cpu for cpu in usable if cpu < 64}
    seen.near[0] = 1 << 63
    with pytest.raises(SkippedError, match=r"^affinity=gpu: this process may use none of .* GPU, 63, only "):
        cuda.Device().near_cpus()


@pytest.mark.parametrize(("device", "name"), [(cpu.Device(), "cpu"), (devices.Device(), "other")])
def test_a_device_that_is_no_gpu_is_near_no_cpus(device: devices.Device, name: str) -> None:
    device.name = name
    with pytest.raises(UserError, match=f"^affinity=gpu binds .*, and device={name} is none: use affinity="):
        device.near_cpus()


def flags() -> tuple[Any, ...]:
    cudnn: Any = torch.backends.cudnn
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    return cudnn.benchmark, cudnn.deterministic, torch.are_deterministic_algorithms_enabled(), workspace


@pytest.mark.parametrize("is_timed", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_cudnns_choice_and_determinism_hold_while_prepared_and_are_recorded(
    is_timed: bool, deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    config, before = of("cuda"), flags()
    config.device.cudnn_benchmark, config.device.deterministic = is_timed, deterministic
    device = cuda.Device()
    with device.prepared(config):
        workspace = ":4096:8" if deterministic else None
        assert flags() == (is_timed, deterministic, deterministic, workspace)
        assert device.settings() == {
            "products": "ieee",
            "cudnn_benchmark": is_timed,
            "deterministic": deterministic,
        }
    assert flags() == before


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


def test_a_gpu_without_free_memory_tells_what_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def summary(abbreviated: bool) -> str:
        return "| PyTorch CUDA memory summary |" if abbreviated else "all of it"

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (3 * 2**20, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_summary", summary)
    report = cuda.Device().memory_report()
    assert report == "3145728 of 85899345920 bytes are free.\n| PyTorch CUDA memory summary |"

    def broken() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "mem_get_info", broken)
    assert cuda.Device().memory_report() is None


def test_a_package_that_hides_nvidias_module_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert cuda.Device().notes() == ()
    monkeypatch.delattr(pynvml, "_nvmlGetFunctionPointer")
    (note,) = cuda.Device().notes()
    assert "pip uninstall pynvml" in note
    assert "nvidia-ml-py" in note
    assert "\n" not in note


def test_a_gpus_l2_cache_is_evicted_three_times_over(monkeypatch: pytest.MonkeyPatch) -> None:
    rewritten: list[int] = []

    class Properties:
        L2_cache_size = 5 * 2**20

    def zeros(count: int, dtype: torch.dtype, device: torch.device) -> Any:
        assert device.type == "cuda"
        assert dtype is torch.int32
        return SimpleNamespace(zero_=lambda: rewritten.append(count * dtype.itemsize))

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Properties)
    monkeypatch.setattr(torch, "zeros", zeros)
    evict = cuda.Device().evictor()
    assert rewritten == []
    evict()
    assert rewritten == [15 * 2**20]


@pytest.mark.parametrize("sync", [None, "events", "none"])
def test_cold_work_is_not_measured_where_the_eviction_would_hide_the_launch(sync: str | None) -> None:
    config = of("cuda")
    config.device.sync, config.measure.cold_cache = sync, True
    line = r"^measure\.cold_cache=true is not possible with device\.sync=(events|none): the host would launch"
    with pytest.raises(UserError, match=line):
        cuda.Device().timer(config)
