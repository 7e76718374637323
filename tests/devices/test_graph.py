"""CUDA graphs, on stand-ins for those of torch: what is captured, what is launched, what is refused.

It has not run on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from microbench import engines
from microbench.config import Config, OptimizerConfig, PrecisionConfig
from microbench.devices import Device, cuda
from microbench.devices.cuda import graph
from microbench.engines import Job
from microbench.errors import SkippedError
from microbench.modes import train
from microbench.options.compose import from_options
from microbench.workloads import Workload
from microbench.workloads.objectives import OnesGradient
from microbench.workloads.optimizer import capturable_options


class Stream:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def wait_stream(self, other: Stream) -> None:
        self.log.append(f"{self.name} waits for {other.name}")


class Graphs:
    """What torch.cuda has of graphs: a capture notes what is called within it, and a replay says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.error: Exception | None = None
        self.has_external = True
        log, graphs = self.log, self

        class Graph:
            def replay(self) -> None:
                log.append("replay")

        class Event:
            def __init__(self, enable_timing: bool, **more: bool) -> None:
                if more and not graphs.has_external:
                    raise TypeError("Event() got an unexpected keyword argument 'external'")
                self.is_external = enable_timing and more.get("external", False)

            def record(self) -> None:
                log.append("external event" if self.is_external else "event")

        @contextmanager
        def capturing(of: Graph) -> Iterator[None]:
            log.append("capture")
            yield
            log.append("captured")
            if self.error is not None:
                raise self.error

        @contextmanager
        def on(stream: Stream) -> Iterator[None]:
            log.append(f"on {stream.name}")
            yield
            log.append("back")

        monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream("current", log))
        monkeypatch.setattr(torch.cuda, "Stream", lambda: Stream("side", log))
        monkeypatch.setattr(torch.cuda, "stream", on)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "graph", capturing)
        monkeypatch.setattr(torch.cuda, "Event", Event)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    return Graphs(monkeypatch)


def test_work_is_rehearsed_on_another_stream_then_captured_with_its_marks_then_launched(
    graphs: Graphs,
) -> None:
    def work(mark: Callable[[], Any]) -> list[Any]:
        graphs.log.append("work")
        return [mark(), mark()]

    replay = graph.captured(work)
    before = ["side waits for current", "on side", *["work"] * graph.REHEARSALS, "back"]
    within = ["capture", "work", "external event", "external event", "captured"]
    assert graphs.log == [*before, "current waits for side", *within]
    graphs.log.clear()
    first = replay()
    assert first is replay()  # the graph writes to the same tensors
    assert graphs.log == ["replay", "replay"]


def test_work_that_cannot_be_captured_is_skipped_with_torchs_reason(graphs: Graphs) -> None:
    graphs.error = RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")
    with pytest.raises(SkippedError) as caught:
        graph.captured(lambda mark: None)
    assert str(caught.value) == (
        "the work cannot be captured in a CUDA graph: CUDA error: operation not permitted when stream is "
        "capturing; leave out device.cuda_graph"
    )


def test_memory_that_runs_out_in_a_capture_is_no_reason_to_skip(graphs: Graphs) -> None:
    graphs.error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        graph.captured(lambda mark: None)


def test_a_torch_without_events_in_graphs_skips_the_phases_of_training_alone(graphs: Graphs) -> None:
    graphs.has_external = False
    graph.captured(lambda mark: None)()
    with pytest.raises(SkippedError, match=r"has no events within CUDA graphs, which the phases of training"):
        graph.captured(lambda mark: mark())


def config(**options: Any) -> Config:
    (case,) = from_options({"model": "dense", "device": "cpu", "threads": 1, **options}, sweep=False)
    case.config.device.name, case.config.device.cuda_graph = "cuda", True
    return case.config


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a graph call its work, and note that it was made and launched."""
    log: list[str] = []

    def made(device: Device, work: Callable[[Callable[[], Any]], Any]) -> Callable[[], Any]:
        mode = "inference" if torch.is_inference_mode_enabled() else "grad"
        log.append(f"captured in {mode} mode")

        def replay() -> Any:
            log.append("launched")
            return work(lambda: "inner")

        return replay

    monkeypatch.setattr(cuda.Device, "captured", made)
    return log


def job(training: bool, **options: Any) -> Job:
    module = nn.Linear(3, 2)
    return Job(Workload("mine", module, (torch.ones(1, 3),), OnesGradient()), config(**options), training)


@pytest.mark.parametrize("engine", ["eager", "torchscript"])
def test_a_call_of_inference_launches_a_graph_that_was_captured_when_it_was_prepared(
    engine: str, captured: list[str]
) -> None:
    of = job(False, engine=engine, mode="infer")
    program = engines.prepare(of)
    assert captured == ["captured in inference mode"]
    expected = of.workload.module(*of.workload.inputs)
    with torch.inference_mode():
        assert torch.equal(program.call(), expected)
    assert captured[1:] == ["launched"]


@pytest.mark.parametrize("engine", ["compile", "export", "tensorrt"])
def test_other_engines_are_skipped_and_told_what_there_is(engine: str, captured: list[str]) -> None:
    with pytest.raises(SkippedError) as caught:
        engines.engine_of(config(engine=engine, mode="infer"), training=False)
    assert str(caught.value) == (
        f"engine={engine} does not support device.cuda_graph=true: use engine=eager or torchscript, or "
        "engine=compile engine.mode=reduce-overhead, which makes CUDA graphs itself"
    )
    assert captured == []


def test_a_training_step_is_one_graph_and_its_phases_lie_between_the_graphs_own_marks(
    captured: list[str],
) -> None:
    of = job(True, mode="train")
    program = engines.prepare(of)
    assert captured == []
    with train.Mode().experiment(program, of.config) as trial:
        assert captured == ["captured in grad mode"]  # before the first call
        experiment = trial.experiment
        assert experiment.reuses_marks
        before = program.parameters[0].clone()
        marks = experiment.step(lambda: "outer", 1)
        assert marks == ("inner", "inner", "inner", "inner", "outer")
        assert experiment.phases["total"] == (0, 3)
        experiment.step(lambda: "outer", 1)
    assert captured == ["captured in grad mode", "launched", "launched"]
    assert not torch.equal(before, program.parameters[0])


def test_the_capture_of_a_training_step_is_timed_apart_from_the_first_call(
    captured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, now = cuda.Device.captured, 0

    def slow(device: Device, work: Callable[[Callable[[], Any]], Any]) -> Callable[[], Any]:
        nonlocal now
        now += 3_000_000_000
        return made(device, work)

    monkeypatch.setattr(cuda.Device, "captured", slow)
    monkeypatch.setattr(train, "time", SimpleNamespace(perf_counter_ns=lambda: now))
    of = job(True, mode="train")
    program = engines.prepare(of)
    with train.Mode().experiment(program, of.config) as trial:
        assert trial.capture == 3.0
    plain = replace(of.config, device=replace(of.config.device, cuda_graph=False))
    with train.Mode().experiment(program, plain) as trial:
        assert trial.capture == 0.0


@pytest.mark.parametrize(
    ("cls", "expected"),
    [("SGD", {}), ("Adam", {"capturable": True}), ("AdamW", {"capturable": True})],
)
def test_optimizers_that_a_graph_can_contain(cls: str, expected: dict[str, bool]) -> None:
    assert capturable_options(OptimizerConfig("it", cls, 0.1)) == expected


@pytest.mark.parametrize("cls", ["LBFGS", "Adagrad", "SparseAdam"])
def test_other_optimizers_are_skipped(cls: str) -> None:
    of = config(mode="train")
    of.optimizer = OptimizerConfig("it", cls, 0.1)
    with pytest.raises(SkippedError, match=rf"^torch\.optim\.{cls} cannot be part of a CUDA graph"):
        train.capturable(of)


def test_the_optimizer_is_made_capturable(captured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[OptimizerConfig] = []

    def made(of: OptimizerConfig, parameters: list[Tensor]) -> torch.optim.Optimizer:
        asked.append(of)
        return torch.optim.SGD(parameters, 0.1)

    monkeypatch.setattr(train, "make_optimizer", made)
    of = job(True, mode="train", optimizer="adamw")
    train.make_step(engines.prepare(of), of.config)
    plain = replace(of.config, device=replace(of.config.device, cuda_graph=False))
    train.make_step(engines.prepare(of), plain)
    assert [each.kwargs.get("capturable") for each in asked] == [True, None]


def test_a_scaled_loss_is_skipped() -> None:
    of = config(mode="train")
    of.precision = PrecisionConfig("amp_fp16", autocast="float16")
    with pytest.raises(SkippedError, match=r"^precision=amp_fp16 scales the loss"):
        train.capturable(of)


def test_a_device_without_graphs_says_so() -> None:
    class Other(Device):
        name = "other"

    with pytest.raises(SkippedError, match=r"^device=other has no graphs: leave out device\.cuda_graph$"):
        Other().captured(lambda mark: None)
