from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch
from fakes import FakeDevice

from microbench.devices import cpu, cuda
from microbench.metrics import energy


class Nvml:
    """NVIDIA's management library on a machine of two GPUs, of which torch sees the second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.millijoules = {"GPU-first": 10, "GPU-second": 2000}
        self.error: int | None = None
        self.open = self.waited = 0
        self.asked: list[str] = []
        seen = SimpleNamespace(uuid="second")
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: seen)
        monkeypatch.setattr(torch.cuda, "synchronize", self.wait)
        monkeypatch.setattr(pynvml, "nvmlInit", lambda: self.count(1))
        monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: self.count(-1))
        monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", self.handle)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", self.energy)

    def wait(self) -> None:
        self.waited += 1

    def count(self, by: int) -> None:
        self.asked.append("open" if by > 0 else "close")
        self.open += by

    def handle(self, uuid: str) -> str:
        assert self.open == 1
        self.asked.append("handle")
        if uuid not in self.millijoules:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return uuid

    def energy(self, handle: Any) -> int:
        assert self.open == 1
        self.asked.append("energy")
        assert self.waited, "the GPU may still be at work"
        self.waited = 0
        if self.error is not None:
            raise pynvml.NVMLError(self.error)
        return self.millijoules[handle]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    return Nvml(monkeypatch)


def test_a_gpus_energy_is_what_the_counter_of_the_one_that_torch_sees_moved_by(nvml: Nvml) -> None:
    with cuda.Device().energy() as meter:
        assert meter.joules is None
        nvml.millijoules = {"GPU-first": 99, "GPU-second": 5500}
    assert meter.joules == 3.5
    assert nvml.open == 0


def test_between_the_two_readings_of_a_gpus_counter_there_is_the_work_alone(nvml: Nvml) -> None:
    meter = cuda.Device().energy()
    for _ in range(2):
        with meter:
            nvml.asked.append("work")
        assert nvml.asked == ["open", "handle", "energy", "work", "energy", "close"]
        nvml.asked.clear()


def test_the_library_is_closed_where_the_work_fails(nvml: Nvml) -> None:
    with pytest.raises(KeyError), cuda.Device().energy():
        raise KeyError
    assert nvml.open == 0


def test_a_gpu_that_the_library_does_not_know_tells_nothing(nvml: Nvml) -> None:
    del nvml.millijoules["GPU-second"]
    with cuda.Device().energy() as meter:
        pass
    assert meter.joules is None
    assert nvml.open == 0


@pytest.mark.parametrize(
    "error",
    [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NOT_FOUND],
)
def test_a_gpu_without_a_counter_tells_nothing(error: int, nvml: Nvml) -> None:
    nvml.error = error
    with cuda.Device().energy() as meter:
        pass
    assert meter.joules is None
    assert nvml.open == 0


def test_nor_does_one_whose_driver_has_no_such_library(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    with cuda.Device().energy() as meter:
        pass
    assert meter.joules is None


def test_on_a_cpu_the_processors_counters_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = iter(
        [{"package": energy.Reading(5_000_000, 10**9)}, {"package": energy.Reading(9_000_000, 10**9)}]
    )
    monkeypatch.setattr(energy, "readings", lambda: next(counters))
    with cpu.Device().energy() as meter:
        pass
    assert meter.joules == pytest.approx(4.0)


def test_the_fake_device_takes_no_energy_that_is_known() -> None:
    with FakeDevice().energy() as meter:
        pass
    assert meter.joules is None
