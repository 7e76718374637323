"""What every device has, and how one is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fakes import FakeClock
from packages import importable, install

from microbench import devices, engines, registry
from microbench.config import Config, DeviceConfig, PrecisionConfig
from microbench.devices import Level, cpu, cuda
from microbench.errors import SkippedError, UserError
from microbench.options.compose import from_options
from microbench.records.record import Status
from microbench.worker import describe, measure_case


def test_auto_is_the_preferred_device_that_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.Device, "missing", lambda self: None)
    monkeypatch.setattr(cuda.Device, "unusable", lambda self: None)
    assert isinstance(devices.open_device("auto"), cuda.Device)
    monkeypatch.setattr(cuda.Device, "unusable", lambda self: "no GPU")
    assert isinstance(devices.open_device("auto"), cpu.Device)


def test_a_device_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.Device, "missing", lambda self: "no GPU; use device=cpu")
    with pytest.raises(UserError, match=r"^device=cuda cannot be used here: no GPU; use device=cpu\.$"):
        devices.open_device("cuda")


def test_a_device_need_not_say_more_than_its_name_and_its_clock() -> None:
    class Other(devices.Device):
        name, clock = "cpu", FakeClock()

    device = Other()
    assert (device.missing(), device.unusable()) == (None, None)
    assert device.torch_device() == torch.device("cpu")
    assert device.precisions == devices.PRECISIONS
    assert device.evicting_bytes() == 2 * devices.UNKNOWN_CACHE
    assert device.describe() == {}
    with device.prepared(Config(device=DeviceConfig("cpu"))), device.energy() as energy:
        assert energy.joules is None
    with device.ledger() as ledger, device.memory().paused():
        ledger.note()
    assert ledger.levels() == [Level(0, 0)]
    assert device.memory().peak() is None
    timer = device.timer(Config())
    assert (timer.name, timer.in_flight, timer.tick, timer.fallback) == ("fake", 0.0, 0.0, None)
    assert not device.has_context


OTHER = """
import torch

from microbench import devices
from microbench.devices.cpu import HostClock


class Device(devices.Device):
    name = "other"
    precisions = ("fp32", "amp_bf16")
    preference = 3

    def __init__(self):
        self.clock = HostClock()

    def torch_device(self):
        return torch.device("cpu")

    def describe(self):
        return {"other": "mine"}
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Config]:
    """A case on a device that one file of another package adds."""
    (tmp_path / "other_device.py").write_text(OTHER, "utf-8")
    install(tmp_path, "other", {"devices": {"other": "other_device"}})
    options = {"model": "dense", "device": "cpu", "mode": "train", "threads": 1, "measure": "quick"}
    given = {"measure.rounds": 1, "measure.max_time": 0.1, "measure.min_samples": 2}
    (case,) = from_options(options | given, sweep=False)
    case.config.device.name = "other"
    with importable(tmp_path):
        yield case.config


def test_one_file_adds_a_device(other: Config) -> None:
    place = describe("auto")
    assert (place.device, place.facts) == ("other", {"other": "mine"})
    by_engine = describe("auto", ["eager", "openvino", "nothing_of_this_name"]).by_engine
    assert {name: each.device for name, each in by_engine.items()} == {"openvino": "cpu"}
    assert "cpu_capability" in by_engine["openvino"].facts
    measured = measure_case(other, lambda progress: None)
    outcome = measured.outcome
    assert (outcome.status, outcome.error) == (Status.OK, None)
    assert {"forward", "backward", "update", "total"} <= {each.phase for each in measured.series}
    assert outcome.check.answer == "reference"
    other.precision = PrecisionConfig("amp_bf16", autocast="bfloat16", tolerance=0.1, gradient_tolerance=0.1)
    assert measure_case(other, lambda progress: None).outcome.check.answer == "same"


def test_engines_of_torch_run_on_any_device_and_in_the_precisions_that_it_has(other: Config) -> None:
    bound = {"onnxruntime": "cpu, cuda", "openvino": "cpu", "libtorch": "cpu, cuda", "tensorrt": "cuda"}
    for name in registry.names("engines"):
        other.engine.name = name
        if name in bound:
            line = rf"^engine={name} does not support device=other; it supports {bound[name]}"
            with pytest.raises(SkippedError, match=line):
                engines.engine_of(other, training=False)
        else:
            engines.engine_of(other, training=False)
    other.engine.name, other.precision = "eager", PrecisionConfig("fp16", cast="float16")
    line = r"^engine=eager does not support precision=fp16 on device=other; it supports fp32, amp_bf16$"
    with pytest.raises(SkippedError, match=line):
        engines.engine_of(other, training=False)
