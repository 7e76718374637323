from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fakes import FakeClock, FakeDevice

from microbench import devices
from microbench.config import Config, DeviceConfig, PrecisionConfig
from microbench.devices import cpu, cuda
from microbench.errors import UserError
from microbench.metrics import cpus


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
    clock = FakeClock()
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


def test_a_device_need_not_say_more_than_its_name_and_its_clock() -> None:
    class Other(devices.Device):
        name, clock = "cpu", FakeClock()

    device = Other()
    assert device.unusable() is None
    assert device.torch_device() == torch.device("cpu")
    assert device.precisions == devices.PRECISIONS
    assert device.memory().peak() is None
    assert device.describe() == {}
    with device.prepared(of("cpu")), device.memory().paused():
        pass


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


@pytest.mark.parametrize("device", [cpu.Device, FakeDevice])
def test_on_the_host_no_products_on_a_gpu_are_touched(device: type[devices.Device], tf32: list[str]) -> None:
    threads = torch.get_num_threads()
    with device().prepared(of("cpu")):
        assert (fp32_precisions(), torch.get_num_threads()) == (tf32, threads)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_torch_uses_onednn_or_not_while_prepared(
    asked: bool, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    onednn: Any = torch.backends.mkldnn
    monkeypatch.setattr(onednn, "enabled", before)
    with pytest.raises(KeyError), cpu.Device().prepared(of("cpu", mkldnn=asked)):  # noqa: PT012
        assert onednn.enabled is asked
        raise KeyError
    assert onednn.enabled is before


def test_without_onednn_a_gpu_would_do_nothing_else() -> None:
    line = r"^device\.mkldnn=false is an option of device=cpu: device=cuda does not use oneDNN\.$"
    with pytest.raises(UserError, match=line), cuda.Device().prepared(of("cuda", mkldnn=False)):
        pass


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

    def test_a_gpus_l2_cache_is_evicted_twice_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rewritten: list[int] = []

        class Properties:
            L2_cache_size = 5 * 2**20

        def zeros(count: int, dtype: torch.dtype, device: torch.device) -> Any:
            assert device.type == "cuda"
            return SimpleNamespace(add_=lambda one: rewritten.append(count * dtype.itemsize))

        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Properties)
        monkeypatch.setattr(torch, "zeros", zeros)
        evict = cuda.Device().evictor()
        assert rewritten == []
        evict()
        assert rewritten == [10 * 2**20]
