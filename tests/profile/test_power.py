"""The energy of a profile's call, on a device whose counter is a driver of ours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fake_nvml import State, counting
from fakes import FakeDevice

from microbench.measure import energy
from microbench.profile import power
from microbench.profile.power import joules_by_counter
from microbench.system.gpu import Gpu, opened

STEP = 0.003


class HostClock:
    """The host's clock."""

    name, ahead = "host", False
    now = staticmethod(time.perf_counter)
    mark = staticmethod(time.perf_counter)

    def seconds(self, marks: list[float]) -> list[float]:
        return [mark - marks[0] for mark in marks]


def test_joules_are_those_of_the_devices_counter(gpus: State, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted(FakeDevice):
        @contextmanager
        def counter(self) -> Iterator[Gpu]:
            with opened(gpus.gpu[0].uuid.decode()) as gpu:
                yield gpu

    device = Counted()
    device.clock = HostClock()  # type: ignore[assignment]
    monkeypatch.setattr(energy, "IDLE", 0.1)
    monkeypatch.setattr(power, "LONGEST", 5.0)
    with counting(gpus.gpu[0], 400.0, 0.01):
        began = time.perf_counter()
        joules = joules_by_counter(lambda: time.sleep(STEP), device, STEP)
        lasted = time.perf_counter() - began
    assert joules is not None
    assert 400.0 * STEP <= joules * 1.1 < 400.0 * lasted


def test_a_device_without_a_counter_or_meter_tells_nothing() -> None:
    assert joules_by_counter(lambda: None, FakeDevice(), 1.0) is None
