"""What the parent reads of a GPU while a worker measures: when, what it makes of it, and what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pynvml
import pytest
from factory import series_of
from fake_nvml import MB, NO_PERMISSION, UNKNOWN, State
from msgspec.structs import replace

from microbench.measure.gpu import REASONS
from microbench.records.progress import OPENED, SAMPLED, SAMPLING, Described, Progress, Watch
from microbench.records.record import GpuReadings, Measured, MemorySource, Outcome, RoundRecord, WarningCode
from microbench.run import gpu as watching
from microbench.run.gpu import Gpus
from microbench.run.protocol import Answer
from microbench.run.workers import WorkerDiedError

from .support import Diary, Take, Workers, cases

OTHER = 2**22 + 1  # no process has this id
HOST = 2**22 + 2  # nor this one, which is ours on the host
CONTEXT_BYTES, MODEL_BYTES = 500 * MB, 1200 * MB
ALLOCATED, RESERVED = 900 * MB, 1100 * MB
SAMPLES = [0.01] * 20

Plant = Callable[[str], None]
"""Changes the GPU when a stage begins."""


@dataclass
class Work:
    """A worker that takes memory of a GPU, and lets a test change what that tells at each stage.

    Attributes:
        gpu: the GPU.
        pid: the id by which the GPU lists the worker.
        has_memory: whether the driver tells the memory of processes.
        foreign: other processes, with their memory.
        plant: changes more, at each stage.
        sm_clocks: what it measures of the GPU's clock beside its samples, in Hz.
    """

    gpu: Any
    pid: int = field(default_factory=os.getpid)
    has_memory: bool = True
    foreign: tuple[tuple[int, int], ...] = ()
    plant: Plant = lambda stage: None
    sm_clocks: list[float] = field(default_factory=list)
    listed: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, watch: Watch) -> Measured:
        for stage, memory in (
            (OPENED, CONTEXT_BYTES),
            ("build", CONTEXT_BYTES),
            ("warmup", MODEL_BYTES),
            (SAMPLING, MODEL_BYTES),
            ("sample", MODEL_BYTES),
            ("sample", MODEL_BYTES),
            (SAMPLED, MODEL_BYTES),
            ("verify", 2 * MODEL_BYTES),  # the check builds a second model
        ):
            self.holds(memory)
            self.plant(stage)
            before = self.gpu.calls("processes")
            n = {SAMPLED: 20, "sample": 10}.get(stage, 0)
            samples = {"inference": array("d", SAMPLES[:5])} if stage == "sample" else {}
            watch(Progress(stage, samples, "inference", n=n, pid=os.getpid()))
            self.listed.append((stage, self.gpu.calls("processes") - before))
        self.gpu.holds(*self.foreign)
        outcome = Outcome(peak_memory=ALLOCATED, gpu=GpuReadings(allocated=ALLOCATED, reserved=RESERVED))
        return Measured(outcome, (replace(series_of("inference", SAMPLES), sm_clocks=self.sm_clocks),))

    def holds(self, memory: int) -> None:
        self.gpu.holds(*self.foreign, (self.pid, memory))
        if not self.has_memory:
            for place in range(self.gpu.processes):
                self.gpu.process[place].memory = UNKNOWN


@pytest.fixture
def gpu(gpus: State) -> Any:
    return gpus.gpu[0]


@pytest.fixture
def measured(gpu: Any, take: Take, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RoundRecord]:
    """Measures a round on the GPU with a worker, and returns its record."""
    monkeypatch.setattr(watching, "PATIENCE", 0.0)

    def measure(*works: Callable[[Watch], Measured], diary: Diary | None = None) -> RoundRecord:
        place = Answer(Described("cpu", {"gpu": "Fake H100", "gpu_uuid": gpu.uuid.decode()}))
        for foreign in [work.foreign for work in works if isinstance(work, Work)][:1]:
            gpu.holds(*foreign)
        planned = cases(1, **{"measure.rounds": len(works)})
        return take(planned, Workers([*works], place), diary).records[-1]

    return measure


def readings(record: RoundRecord) -> GpuReadings:
    assert record.outcome.gpu is not None
    return record.outcome.gpu


def warned(record: RoundRecord) -> dict[WarningCode, str]:
    return {each.code: each.message for each in record.outcome.warnings}


def said(diary: Diary) -> list[str]:
    return [text for kind, text in diary.told if kind == "say"]


Measure = Callable[..., RoundRecord]


def test_memory_has_three_parts(gpu: Any, measured: Measure) -> None:
    record = measured(Work(gpu))
    found = readings(record)
    assert (found.context, found.process) == (CONTEXT_BYTES, MODEL_BYTES)
    assert (found.allocated, found.reserved) == (ALLOCATED, RESERVED)
    assert (found.memory_source, found.memory) == (
        MemorySource.PROCESS_GROUP,
        MODEL_BYTES - CONTEXT_BYTES,  # read before the check, which builds a second model
    )
    assert record.outcome.peak_memory == ALLOCATED
    assert warned(record) == {}


def test_processes_are_listed_at_borders_alone(gpu: Any, measured: Measure) -> None:
    work = Work(gpu)
    measured(work)
    each = 2  # the size of the list, and the list
    assert work.listed == [
        *((OPENED, each), ("build", 0), ("warmup", 0)),
        *((SAMPLING, each), ("sample", 0), ("sample", 0), (SAMPLED, each), ("verify", 0)),
    ]
    assert gpu.calls("processes") == 3 * each + 1  # before, nobody is listed


def test_the_thread_lists_none_however_long_it_reads(
    gpu: Any, measured: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plant(stage: str) -> None:
        if stage == "sample":
            before, listed = gpu.calls("memory"), gpu.calls("processes")
            while gpu.calls("memory") < before + 3:
                pass
            assert gpu.calls("processes") == listed

    found = readings(measured(Work(gpu, plant=plant)))
    assert len(found.timeline.seconds) >= 6
    assert found.watching is not None


@pytest.mark.parametrize(
    ("work", "source", "process"),
    [
        ({}, MemorySource.PROCESS_GROUP, MODEL_BYTES),
        ({"pid": HOST}, MemorySource.NEW_ENTRY, MODEL_BYTES),
        ({"has_memory": False}, MemorySource.DEVICE, MODEL_BYTES),
        ({"pid": HOST, "has_memory": False}, MemorySource.DEVICE, MODEL_BYTES),
        # Two more entries than before: which of them is ours is unknown, and the increase is not ours alone.
        ({"pid": HOST, "has_memory": False, "comes": True}, MemorySource.ALLOCATOR, RESERVED),
    ],
)
def test_memory_is_found_in_four_ways_and_the_record_says_which(
    work: dict[str, Any], source: MemorySource, process: int, gpu: Any, measured: Measure
) -> None:
    comes = work.pop("comes", False)
    made, diary = Work(gpu, **work), Diary()

    def plant(stage: str) -> None:
        if comes:
            made.foreign = ((OTHER, 5 * MB),)

    made.plant = plant
    record = measured(made, diary=diary)
    found = readings(record)
    assert (found.memory_source, found.process) == (source, process)
    assert found.memory == (RESERVED if source is MemorySource.ALLOCATOR else MODEL_BYTES - CONTEXT_BYTES)
    lines = [line for line in said(diary) if line.startswith("The memory on the GPU is ")]
    assert len(lines) == (0 if source is MemorySource.PROCESS_GROUP else 1)


def test_a_line_is_said_once_in_a_run(gpu: Any, measured: Measure) -> None:
    diary = Diary()
    gpu.fail(NO_PERMISSION, "energy", "clock", "processes")
    record = measured(Work(gpu), Work(gpu), Work(gpu), diary=diary)
    assert said(diary) == [
        "NVML does not tell the GPU's processes, clocks, energy: Insufficient Permissions.",
        "The memory on the GPU is what torch's allocator has reserved, without CUDA's context: NVML does not "
        "tell it by process.",
    ]
    found = readings(record)
    assert (found.sm_clock, found.others, found.timeline.energy[0]) == (None, None, None)
    assert found.temperature == 30  # the rest is known
    assert gpu.calls("energy") == 1  # what it refuses is not asked again


@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_NO_PERMISSION, pynvml.NVML_ERROR_LIBRARY_NOT_FOUND])
def test_without_nvml_the_case_is_measured_and_one_line_says_so(
    error: int, gpus: State, gpu: Any, measured: Measure
) -> None:
    gpus.fails, diary = error, Diary()
    record = measured(Work(gpu), Work(gpu), diary=diary)
    assert record.ok
    (line,) = said(diary)
    assert line.startswith(
        "The GPU is not watched (clocks, power, memory by process, other processes): NVML: "
    )
    assert record.outcome.gpu == GpuReadings(allocated=ALLOCATED, reserved=RESERVED)


def test_a_part_of_a_gpu_has_its_memory_and_a_line(gpus: State, gpu: Any, measured: Measure) -> None:
    part, diary = gpus.gpu[1], Diary()
    part.uuid, part.part = b"MIG-1111", 1
    gpu.uuid, part.uuid = part.uuid, gpu.uuid  # of the place, so the fixture's GPU is the part
    gpu.part, part.part = 1, 0
    record = measured(Work(gpu), diary=diary)
    assert readings(record).process == MODEL_BYTES
    assert readings(record).power is None
    (line,) = said(diary)
    assert line.startswith("The GPU is a part of one (MIG): ")


def during(gpu: Any, **values: int) -> Plant:
    """Set these while sampling."""

    def plant(stage: str) -> None:
        for name, value in values.items():
            setattr(gpu, name, value if stage in (SAMPLING, "sample") else 0)

    return plant


def test_throttling_is_told_and_its_samples_are_marked_and_kept(gpu: Any, measured: Measure) -> None:
    record = measured(Work(gpu, plant=during(gpu, reasons=REASONS["hw_thermal"])))
    assert "heat, in hardware (hw_thermal, " in warned(record)[WarningCode.GPU_THROTTLED]
    found = readings(record)
    assert found.reasons["hw_thermal"] > 0
    assert found.throttled_samples == [(0, 19)]  # the readings at both ends are all that there is
    assert record.series[0].samples == SAMPLES


def test_a_clock_that_falls_meanwhile_is_told(gpu: Any, measured: Measure) -> None:
    def plant(stage: str) -> None:
        gpu.sm_clock = 1500 if stage == SAMPLED else 1980

    record = measured(Work(gpu, plant=plant))
    assert "1500 and 1980 MHz" in warned(record)[WarningCode.GPU_CLOCK_MOVED]
    assert readings(record).sm_clock_limit == 1.98e9


@pytest.mark.parametrize(("number", "is_told"), [(0, False), (1, False), (5, True)])
def test_the_clock_of_the_samples_moved_if_it_did_for_more_than_one(
    number: int, is_told: bool, gpu: Any, measured: Measure
) -> None:
    clocks = [1.7e9] * (20 - number) + [1.6e9] * number
    record = measured(Work(gpu, sm_clocks=clocks))
    found = readings(record)
    assert (found.sm_clock, found.sm_clock_min) == (1.7e9, 1.6e9 if is_told else 1.7e9)
    assert found.sm_clock_max == 1.7e9
    assert (WarningCode.GPU_CLOCK_MOVED in warned(record)) == is_told


def test_other_processes_are_told(gpu: Any, measured: Measure) -> None:
    record = measured(Work(gpu, foreign=((OTHER, 5 * MB),)))
    assert readings(record).others == 1
    assert readings(record).memory == MODEL_BYTES - CONTEXT_BYTES
    assert "1 other process used" in warned(record)[WarningCode.GPU_SHARED]


@pytest.mark.parametrize("by", [64 * MB, -64 * MB])
def test_memory_that_changes_by_itself_is_told(by: int, gpu: Any, measured: Measure) -> None:
    def plant(stage: str) -> None:
        if stage == SAMPLED:
            gpu.used += by

    record = measured(Work(gpu, plant=plant))
    assert readings(record).memory_moved == 64 * MB
    assert "changed by 64 MiB by itself" in warned(record)[WarningCode.GPU_SHARED]


def test_memory_that_the_case_takes_is_its_own(gpu: Any, measured: Measure) -> None:
    made = Work(gpu)

    def plant(stage: str) -> None:
        if stage == SAMPLED:
            made.holds(MODEL_BYTES + 300 * MB)

    made.plant = plant
    record = measured(made)
    assert readings(record).memory_moved == 0
    assert warned(record) == {}


def test_a_gpu_that_is_at_work_before_is_told(gpu: Any, measured: Measure) -> None:
    gpu.utilization = 95
    record = measured(Work(gpu))
    assert "95 % of the time" in warned(record)[WarningCode.GPU_NOT_IDLE]


class Slept:
    """Waits by letting something happen to the GPU."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.times, self.then = 0, then

    def __call__(self, seconds: float) -> None:
        self.times += 1
        if self.times == 3:
            self.then()


def test_a_round_waits_for_rest_and_for_the_memory_of_the_round_before(gpu: Any) -> None:
    def rest() -> None:
        gpu.utilization = 0
        gpu.holds()

    slept = Slept(rest)
    gpus = Gpus(lambda text: None, slept)
    gpu.utilization = 95
    first = gpus.watch(gpu.uuid.decode())
    assert first is not None
    first._known.ours.add(HOST)
    gpu.holds((HOST, MODEL_BYTES))
    watched = gpus.watch(gpu.uuid.decode())
    assert watched is not None
    watched.begin()
    assert slept.times == 3
    assert readings_of(watched).busy_before == 0
    gpus.close()


def test_a_gpu_that_never_rests_is_waited_for_once(gpu: Any) -> None:
    slept = Slept(lambda: None)
    gpus = Gpus(lambda text: None, slept)
    gpu.utilization = 95
    for _ in range(2):
        watched = gpus.watch(gpu.uuid.decode())
        assert watched is not None
        watched.begin()
    assert slept.times == round(watching.PATIENCE / watching.PAUSE)
    gpus.close()


def test_a_second_gpu_in_use_keeps_no_round_waiting(gpus: State) -> None:
    slept = Slept(lambda: None)
    watching_ = Gpus(lambda text: None, slept)
    gpus.gpu[1].holds((HOST, MODEL_BYTES))  # more than the first one has, but as much as ever
    for number in (0, 1, 0, 1):
        watched = watching_.watch(gpus.gpu[number].uuid.decode())
        assert watched is not None
        watched.begin()
    assert slept.times == 0
    watching_.close()


def readings_of(watched: watching.GpuRound) -> GpuReadings:
    found = watched.told(Measured(Outcome())).outcome.gpu
    assert found is not None
    return found


@pytest.fixture
def child() -> Iterator[int]:
    """A process in a group of its own."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process.pid
    process.kill()
    process.wait()


def test_a_worker_is_known_by_its_group_not_by_its_id(child: int, gpu: Any, measured: Measure) -> None:
    """The compiler's workers, and a program of an engine's own, are in the group of the worker."""

    def work(watch: Watch) -> Measured:
        for stage in (OPENED, SAMPLING, SAMPLED):
            gpu.holds((child, 100 * MB if stage == OPENED else 300 * MB), (os.getpid(), 7 * MB))
            watch(Progress(stage, n=20, pid=child))
        return Measured(Outcome(), (series_of("inference", SAMPLES),))

    found = readings(measured(work))
    assert (found.context, found.process, found.others) == (100 * MB, 300 * MB, 1)


def test_a_worker_that_is_killed_meanwhile_leaves_no_thread_and_what_was_read(
    gpu: Any, gpus: State, measured: Measure
) -> None:
    work = Work(gpu)

    def killed(watch: Watch) -> Measured:
        def until_sample(progress: Progress) -> None:
            watch(progress)
            if progress.stage == "sample":
                raise WorkerDiedError(signal.SIGKILL, "")

        return work(until_sample)

    record = measured(killed)
    assert "SIGKILL" in str(record.outcome.error)
    found = readings(record)
    assert (found.process, found.memory_source) == (None, None)  # it is read when the sampling has ended
    assert len(found.timeline.seconds) >= 2
    assert record.series[0].samples == SAMPLES[:5]
    assert gpus.opened == 0
    assert "microbench-gpu" not in [each.name for each in threading.enumerate()]


def test_an_engine_with_memory_of_its_own_has_that_of_its_process(gpu: Any, measured: Measure) -> None:
    work = Work(gpu)

    def own(watch: Watch) -> Measured:
        found = work(watch)
        return replace(found, outcome=replace(found.outcome, peak_memory=None))

    assert measured(own).outcome.peak_memory == MODEL_BYTES - CONTEXT_BYTES


def test_an_engine_with_a_process_of_its_own_has_two_contexts(gpu: Any, measured: Measure) -> None:
    work = Work(gpu)

    def own(watch: Watch) -> Measured:
        found = work(watch)
        outcome = replace(found.outcome, peak_memory=None, gpu=GpuReadings(contexts=2))
        return replace(found, outcome=outcome)

    assert measured(own).outcome.peak_memory == MODEL_BYTES - 2 * CONTEXT_BYTES


def test_a_case_without_a_gpu_opens_nothing(gpus: State, take: Take) -> None:
    gpus.fails, diary = NO_PERMISSION, Diary()
    place = Answer(Described("cpu", {"cpu": "Some CPU"}))
    record = take(cases(1), Workers([lambda watch: Measured(Outcome())], place), diary).records[0]
    assert record.outcome.gpu is None
    assert said(diary) == []
