"""What a worker records of a case on a simulated GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from statistics import median
from typing import Any

import pytest
import torch
from simulated import Gpu, installed

from microbench import devices, worker
from microbench.config import Config
from microbench.devices import cuda
from microbench.measure import disturbances as about
from microbench.options.compose import from_options
from microbench.records import clocks
from microbench.records.record import Measured, Role, Series, Status, WarningCode
from microbench.worker import measure_case

US = 1e-6


class Device(cuda.Device):
    """The GPU, whose tensors are on the host, whose time is simulated, and which nobody watches."""

    is_watched = False

    def torch_device(self) -> torch.device:
        return torch.device("cpu")

    @contextmanager
    def prepared(self, config: Config) -> Iterator[None]:
        yield

    def begin(self) -> None:
        pass

    def settings(self) -> dict[str, Any]:
        return {}

    def counter(self) -> Any:
        return nullcontext()

    def memory(self) -> Any:
        return devices.Unmeasured()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """Let each call of a layer be ten kernels of two microseconds."""
    gpu, device = installed(Gpu(), monkeypatch), Device()
    monkeypatch.setattr(devices, "open_device", lambda name: device)

    def launch(module: Any, inputs: Any) -> None:
        for _ in range(10):
            gpu.kernel(2 * US)

    handle = torch.nn.modules.module.register_module_forward_pre_hook(launch)
    yield gpu
    handle.remove()


def measured(sync: str | None = None, **options: Any) -> Measured:
    given = {"model": "dense", "mode": "infer", "device": "cpu", "threads": 1, "verify": False}
    quick = {"measure.min_time": 0.01, "measure.max_time": 0.05, "measure.max_warmup": 0.1}
    (case,) = from_options(given | quick | options, sweep=False)
    case.config.device.name, case.config.device.sync = "cuda", sync
    found = measure_case(case.config, lambda progress: None)
    assert (found.outcome.status, found.outcome.error) == (Status.OK, None)
    return found


def series(found: Measured) -> dict[str, Series]:
    return {each.phase: each for each in found.series}


def test_a_round_of_events_has_the_streams_time_and_the_devices(gpu: Gpu) -> None:
    found = series(measured())
    whole, beside = found["inference"], found[clocks.DEVICE]
    assert list(found) == ["inference", clocks.DEVICE, "context", "prepare", "first_call"]
    assert (whole.clock, whole.role) == (clocks.EVENTS, Role.WHOLE)
    assert (beside.clock, beside.role) == (clocks.BACKLOG, Role.PART)
    assert median(whole.samples) == pytest.approx(10 * gpu.launch, rel=0.02)
    assert median(beside.samples) == pytest.approx(10 * (2 * US + gpu.gap) + gpu.stamp, rel=0.01)
    assert whole.resolution > 0
    assert whole.sm_clocks == []


def test_a_round_of_device_has_its_time_the_hosts_and_the_clock_rate_of_each_sample(gpu: Gpu) -> None:
    found = series(measured("device"))
    whole, host = found["inference"], found[clocks.HOST]
    assert (whole.clock, host.clock, host.role) == (clocks.BACKLOG, clocks.LAUNCH, Role.PART)
    assert median(whole.samples) == pytest.approx(10 * (2 * US + gpu.gap), rel=0.02)
    assert median(host.samples) == pytest.approx(10 * gpu.launch, rel=0.1)
    assert len(whole.samples) == len(host.samples) == len(whole.sm_clocks)
    assert whole.sm_clocks == pytest.approx([gpu.sm_clock] * len(whole.sm_clocks), rel=0.01)
    assert found["first_call"].clock == clocks.EVENTS


@pytest.mark.parametrize(
    ("sync", "clock"), [("step", clocks.STEP), ("phase", clocks.PHASE), ("none", clocks.LAUNCH)]
)
def test_a_round_of_the_hosts_clock_says_which_figure_it_is(sync: str, clock: str, gpu: Gpu) -> None:
    found = series(measured(sync))
    assert list(found) == ["inference", "context", "prepare", "first_call"]
    assert found["inference"].clock == found["first_call"].clock == clock


def test_work_that_cannot_be_held_back_is_a_warning_and_its_times_are_the_streams(gpu: Gpu) -> None:
    gpu.depth = 5
    found = measured("device")
    assert series(found)["inference"].clock == clocks.EVENTS
    (warning,) = (each for each in found.outcome.warnings if each.code is WarningCode.OTHER_CLOCK)
    assert (
        "the times are stream time: the host takes more than 50 ms to launch the work, or" in warning.message
    )
    assert clocks.DEVICE not in series(found)


def test_cold_work_with_events_is_one_line(gpu: Gpu) -> None:
    (case,) = from_options({"model": "dense", "device": "cpu", "measure.cold_cache": True}, sweep=False)
    found = measure_case(case.config, lambda progress: None).outcome
    assert found.status is Status.ERROR
    assert str(found.error).startswith("measure.cold_cache=true is not possible with device.sync=events: ")


@pytest.mark.parametrize(
    ("sync", "seconds", "tells"), [(None, 2, True), (None, 50, False), ("step", 50, True)]
)
def test_the_hosts_clock_rate_matters_where_the_host_is_what_takes_the_time(
    sync: str | None, seconds: float, tells: bool, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.gap = seconds * US
    given = about.disturbances
    asked: list[bool] = []

    def noting(readings: Any, around: Any, of_host: bool) -> Any:
        asked.append(of_host)
        return given(readings, around, of_host)

    monkeypatch.setattr(worker, "disturbances", noting)
    measured(sync)
    assert asked == [tells]
