"""The record: what one round of one case found, as one line of a run's file.

This is the one place that says what a record is: its types, how they become a line of JSON, and how a line is
read back. Everything here is plain data that both the parent, which has no torch, and the workers can import.
Times are in seconds, memory in bytes, frequencies in Hz; a value that is not known is None, never NaN.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from microbench.config import Config
from microbench.records.peaks import Peaks

SCHEMA_VERSION = 3

SEARCH = "search"
"""The schedule of a run that searches for the fastest configuration."""

Scalar = str | int | float | bool | None


class Status(StrEnum):
    """How a case ended."""

    OK = "ok"
    MISMATCH = "mismatch"
    OOM = "oom"
    ERROR = "error"
    TIMEOUT = "timeout"
    SKIPPED = "skipped"
    GIVEN_UP = "given_up"


class Correctness(StrEnum):
    """Whether a case computes what eager fp32 computes."""

    SAME = "same"
    MISMATCH = "mismatch"
    UNCLEAR = "unclear"
    REFERENCE = "reference"
    OFF = "off"


class StopReason(StrEnum):
    """Which rule ended the sampling."""

    REL_CI = "rel_ci"
    MAX_TIME = "max_time"
    MAX_SAMPLES = "max_samples"


class WarningCode(StrEnum):
    """What can be doubtful about a number that was measured; each says what to do about it."""

    NON_FINITE = "non_finite"
    NOT_REPEATABLE = "not_repeatable"
    NOT_SETTLED = "not_settled"
    WIDE_INTERVAL = "wide_interval"
    NO_INTERVAL = "no_interval"
    DRIFT = "drift"
    BIMODAL = "bimodal"
    FOREIGN_LOAD = "foreign_load"
    OVERSUBSCRIBED = "oversubscribed"
    OTHER_THREADS = "other_threads"
    THROTTLED = "throttled"
    STOLEN = "stolen"
    PAGE_FAULTS = "page_faults"
    FREQUENCY_SCALING = "frequency_scaling"
    THERMAL = "thermal"
    ON_BATTERY = "on_battery"
    UNVERIFIED = "unverified"
    IMPLAUSIBLE = "implausible"
    NO_TRACE = "no_trace"


class Role(StrEnum):
    """What a phase is in its mode: a part of the step, the whole of it, or something that happens once."""

    PART = "part"
    WHOLE = "whole"
    ONCE = "once"


class Kind(StrEnum):
    """What a profiled call is.

    A module that calls no other (a leaf module), a torch operator called outside leaf modules, a module that
    calls others, or the time between the calls that is in none of them.
    """

    MODULE = "module"
    FUNCTION = "function"
    CONTAINER = "container"
    OVERHEAD = "overhead"


class BenchmarkWarning(msgspec.Struct, frozen=True):
    """A doubt about a number: a stable code, and a sentence with the remedy."""

    code: WarningCode
    message: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What the samples of one series say.

    Attributes:
        n: number of samples.
        n_effective: how many independent samples would say as much of the median.
        median: seconds per call.
        ci_low: lower end of the median's interval within this process; None with too few samples for one.
        ci_high: its upper end.
        confidence: the level of that interval.
        mean: seconds per call.
        std: sample standard deviation; None for one sample.
        min: seconds per call.
        max: seconds per call.
        q25: lower quartile.
        q75: upper quartile.
        drift: how much the last sample is above the first by Theil and Sen's line, over the median; None for
            few samples.
        drift_tau: Kendall's rank correlation of samples and time.
        drift_p: how likely so large a correlation is without a trend.
    """

    n: int
    n_effective: float
    median: float
    ci_low: float | None
    ci_high: float | None
    confidence: float
    mean: float
    std: float | None
    min: float
    max: float
    q25: float
    q75: float
    drift: float | None
    drift_tau: float | None
    drift_p: float | None

    @property
    def half_width(self) -> float | None:
        """Half the interval's width over the median, as a share; None without an interval."""
        if self.ci_low is None or self.ci_high is None or self.median <= 0:
            return None
        return (self.ci_high - self.ci_low) / 2 / self.median


class Series(msgspec.Struct, frozen=True):
    """The ordered samples of one phase, and the phase's warm-up.

    Attributes:
        phase: its name.
        clock: what they were read on; empty where nothing was read.
        samples: seconds per call, in order.
        warmup: seconds of each warm-up step, in order.
        calls_per_sample: how many calls one sample spans.
        summary: what the samples say; None where the round did not live to say it.
        role: what the phase is in its mode. What happens once (prepare, first_call) is not sampled: the rule
            that stopped the sampling and the sensors' readings are not its own.
        of_layers: a model's time in this phase is that of its layers together.
    """

    phase: str
    clock: str
    samples: list[float]
    warmup: list[float] = []
    calls_per_sample: int = 1
    summary: Summary | None = None
    role: Role = Role.PART
    of_layers: bool = False


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call within a profiled module, with what it costs; None where that was not counted or measured.

    Attributes:
        name: the module's dotted name; empty for the whole model. An operator's is its caller's and its own.
        index: its place among the leaf modules' calls and the operators, from 0; None for a module that calls
            others.
        order: its place among all calls in the order in which they begin, from 0.
        depth: how many calls it lies within.
        kind: what it is.
        type: the class's name, or the operator's.
        in_shape: the shapes of what it is given, such as `(1, 3, 224, 224)`; several are joined by commas.
        out_shape: the shapes of what it returns.
        dtype: the number format of what it returns.
        params: numbers of parameters.
        flops: floating-point operations.
        macc: multiply-accumulates.
        mem_r: bytes read.
        mem_w: bytes written.
        backward: floating-point operations of the backward pass.
        unknown: operators that no rule knows, whose operations are missing; None where there are none.
        mem_alloc: bytes that it allocates and leaves allocated.
        mem_peak: bytes over the level at its begin that are allocated at most.
        mem_total: bytes over the level at the model's begin that are allocated at its end.
        times: seconds with all calls within it, one a pass; empty where it was not timed.
    """

    name: str
    index: int | None
    order: int
    depth: int
    kind: Kind
    type: str
    in_shape: str = ""
    out_shape: str = ""
    dtype: str = ""
    params: int | None = None
    flops: int | None = None
    macc: int | None = None
    mem_r: int | None = None
    mem_w: int | None = None
    backward: int | None = None
    unknown: int | None = None
    mem_alloc: int | None = None
    mem_peak: int | None = None
    mem_total: int | None = None
    times: list[float] = []


def phase_of_calls(training: bool) -> str:
    """Name the phase that a profile's calls are of."""
    return "forward" if training else "inference"


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """What the sensors read of the process and of its CPUs while a case was sampled.

    A value is None where the system does not say.

    Attributes:
        sampling_seconds: for how long, in seconds.
        page_faults_per_call: page faults that took no disk.
        page_fault_cost: CPU seconds that one takes; measured only where there are many.
        page_fault_share: share of the process's CPU time that they take together.
        involuntary_switches: how often the kernel took a CPU away.
        cpu_utilization: CPU seconds a second (2.0: two busy CPUs).
        system_utilization: those of them that the kernel spent for the process.
        run_delay: seconds a second that the process's threads, taken together, were ready but had no CPU.
        foreign_cpus: CPUs that others kept busy, of those that the process may use.
        steal: share of the time in which these CPUs had work that the hypervisor ran something else.
        throttled: seconds that the control group's quota kept its processes from running.
        thermal_throttles: how often heat slowed the CPUs.
        cpu_frequency: clock rate in Hz, at the end, of a CPU that the process ran on.
    """

    sampling_seconds: float
    page_faults_per_call: float
    page_fault_cost: float | None
    page_fault_share: float | None
    involuntary_switches: int
    cpu_utilization: float
    system_utilization: float
    run_delay: float | None
    foreign_cpus: float | None
    steal: float | None
    throttled: float | None
    thermal_throttles: int | None
    cpu_frequency: float | None


class Check(msgspec.Struct, frozen=True):
    """What a case computed beside what eager fp32 computes of the same weights and inputs.

    Attributes:
        answer: within tolerance, or not, or eager fp32's own answer is too sensitive to tell; the case is
            plain eager fp32 itself; or the check was off. None where it was not done: in rounds after the
            first, and where it failed.
        error_abs: the largest absolute error of an output (in training: of the loss, or a layer's outputs).
        error_rel: the largest error relative to the largest value of the same output.
        top1_agreement: the share of the batch for which a classifier's first choice is the same.
        gradient_error: the norm of the gradients' differences over the norm of the gradients.
        tolerance: what `error_rel` may be.
        gradient_tolerance: what `gradient_error` may be.
    """

    answer: Correctness | None = None
    error_abs: float | None = None
    error_rel: float | None = None
    top1_agreement: float | None = None
    gradient_error: float | None = None
    tolerance: float | None = None
    gradient_tolerance: float | None = None


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """What the process that measured ran with, as it turned out; None where it did not live to say.

    Attributes:
        allocator: the memory allocator of the host.
        threads: threads of an operation: torch's, or those of the engine's own library.
        interop_threads: operations that run side by side, likewise.
        cpus: the CPUs it may use, such as `0-3`.
        flush_denormal: denormal numbers count as zero.
        engine: the library that ran the case, with its version.
        arithmetic: what multiplied, such as `avx512_bf16`; None where it is not known.
        conversions: how often a call converts between layouts; None where it need not.
        input_grad: an input requires a gradient.
    """

    allocator: str | None = None
    threads: int | None = None
    interop_threads: int | None = None
    cpus: str | None = None
    flush_denormal: bool | None = None
    engine: str | None = None
    arithmetic: str | None = None
    conversions: int | None = None
    input_grad: bool | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a round of a case ended, and what was found besides the times of its phases.

    Attributes:
        status: ok, or what went wrong.
        error: one line that says what went wrong and what to do; None where nothing did.
        traceback: the worker's own traceback, for those who want to look.
        stop_reason: which rule ended the sampling.
        warnings: doubts about what was measured.
        params: the number of the model's parameters.
        peak_memory: bytes.
        joules: measured energy of a call.
        readings: what the sensors read during the sampling; None where nothing was sampled.
        check: whether the answer is eager fp32's.
        process: what the process ran with.
        peaks: what the machine reaches at best; None where it was not measured.
        trace: the file that a trace was written to.
    """

    status: Status = Status.OK
    error: str | None = None
    traceback: str | None = None
    stop_reason: StopReason | None = None
    warnings: tuple[BenchmarkWarning, ...] = ()
    params: int | None = None
    peak_memory: int | None = None
    joules: float | None = None
    readings: Readings | None = None
    check: Check = Check()
    process: Process = Process()
    peaks: Peaks | None = None
    trace: str | None = None


def unverified(outcome: Outcome, reason: str) -> Outcome:
    """An outcome whose answer could not be checked, and why."""
    warning = BenchmarkWarning(WarningCode.UNVERIFIED, f"{reason}; verify=false leaves the check out")
    return replace(outcome, warnings=(*outcome.warnings, warning))


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Which run a round is of.

    Attributes:
        id: the run: its start in UTC and eight random digits.
        invocation: eight random digits of the command that measured the round: a run that was completed later
            has several.
        command: the microbench command that began it, such as `doctor`; empty for one that measures cases.
        command_line: the whole command line that began it; None for a run from Python.
        schedule: interleaved, sequential or search.
        schedule_seed: what the order was drawn from.
    """

    id: str
    invocation: str = ""
    command: str = ""
    command_line: str | None = None
    schedule: str = "interleaved"
    schedule_seed: int | None = None


class DistinctLayer(msgspec.Struct, frozen=True):
    """A layer of a model, with all others that are like it.

    Attributes:
        part: what `model.part` calls its first call.
        name: the dotted name of the module that is called first.
        index: the place of that call among all calls of layers, from 0.
        type: the class's name.
        arguments: what it was made with.
        in_shape: the shapes of what it is given, such as `(1, 3, 224, 224)`; several are joined by commas.
        count: how often the model calls it, or one like it.
        unmeasured: why it is not measured; None where it is.
    """

    part: str
    name: str
    index: int
    type: str
    arguments: str
    in_shape: str
    count: int
    unmeasured: str | None = None


class CaseSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Which case of its run was measured.

    Attributes:
        id: hash of the options that define the work and differ from their defaults.
        order: the case's place in the run, from 0.
        command: the command line that measures it again, device and threads spelled out.
        config: the whole resolved configuration.
        layer: which layer of a model it is, where it was found by taking a model apart.
    """

    id: str
    order: int
    command: str
    config: Config
    layer: DistinctLayer | None = None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine, and the software on it; None is what the system does not say.

    Attributes:
        host_id: hash that tells machines apart.
        cpu: the processor's name.
        physical_cores: cores that this process may use.
        usable_cpus: CPUs that it may use.
        cpu_quota: CPUs' worth of time that a control group grants.
        memory: bytes.
        os: the system and its version.
        arch: such as `x86_64`.
        gpu: the accelerator's name, where the case runs on one.
        gpu_memory: its memory in bytes.
        gpu_driver: its driver's version.
        cuda: the version of CUDA that torch was built for.
        cpu_capability: the widest vector instructions of torch's own kernels.
        cpu_limits: the variables that limit those of its libraries.
        smt: two CPUs may share a core.
        sockets: processors.
        numa_nodes: memory nodes.
        governor: what chooses the clock rate.
        turbo: the clock rate may rise for a while.
        frequency_driver: what sets the clock rate.
        frequency_min: Hz.
        frequency_max: Hz.
        cgroup_version: 1 or 2.
        memory_limit: bytes that a control group grants.
        thp: transparent huge pages: always, madvise or never.
        huge_pages: static huge pages.
        huge_page_size: bytes.
        load_average: of one minute, at the start.
        clock_source: what the kernel reads the time from.
        clock_sources: what it could read it from.
        clock_step: seconds between two times that the clock can tell apart.
        clock_cost: seconds that reading it takes.
        hypervisor: what virtualizes the machine.
        on_battery: a battery is being used up.
        python: version.
        torch: version.
        torchvision: version.
        numpy: version.
        scipy: version.
        microbench: version.
        git: the commit of microbench's checkout, with `-dirty` for changes on it.
        omp_num_threads: the environment variable.
        mkl_num_threads: the environment variable.
        omp_proc_bind: the environment variable.
        kmp_affinity: the environment variable.
        gomp_cpu_affinity: the environment variable.
        extra: what a device of another package says of itself.
    """

    host_id: str = ""
    cpu: str | None = None
    physical_cores: int | None = None
    usable_cpus: int | None = None
    cpu_quota: float | None = None
    memory: int | None = None
    os: str | None = None
    arch: str | None = None
    gpu: str | None = None
    gpu_memory: int | None = None
    gpu_driver: str | None = None
    cuda: str | None = None
    cpu_capability: str | None = None
    cpu_limits: str | None = None
    smt: bool | None = None
    sockets: int | None = None
    numa_nodes: int | None = None
    governor: str | None = None
    turbo: bool | None = None
    frequency_driver: str | None = None
    frequency_min: float | None = None
    frequency_max: float | None = None
    cgroup_version: int | None = None
    memory_limit: int | None = None
    thp: str | None = None
    huge_pages: int | None = None
    huge_page_size: int | None = None
    load_average: float | None = None
    clock_source: str | None = None
    clock_sources: str | None = None
    clock_step: float | None = None
    clock_cost: float | None = None
    hypervisor: str | None = None
    on_battery: bool | None = None
    python: str | None = None
    torch: str | None = None
    torchvision: str | None = None
    numpy: str | None = None
    scipy: str | None = None
    microbench: str | None = None
    git: str | None = None
    omp_num_threads: str | None = None
    mkl_num_threads: str | None = None
    omp_proc_bind: str | None = None
    kmp_affinity: str | None = None
    gomp_cpu_affinity: str | None = None
    extra: dict[str, Scalar] = {}


class RoundRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One round of one case: a line of a run's file.

    Attributes:
        schema_version: of the line; see SCHEMA_VERSION.
        run: which run it is of.
        case: which case of it.
        round: which of the case's fresh processes this was, from 0.
        turn: its place among all rounds of all cases, from 0.
        started_at: when it began, in UTC.
        machine: where it was measured.
        outcome: how it ended, and what was found besides times.
        series: the samples of its phases; also of a round that failed, as far as it came.
        calls: of a profile, every call that the module makes.
    """

    schema_version: int = SCHEMA_VERSION
    run: RunInfo
    case: CaseSpec
    round: int
    turn: int = 0
    started_at: str
    machine: Machine
    outcome: Outcome
    series: tuple[Series, ...] = ()
    calls: tuple[Call, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the round ended well."""
        return self.outcome.status is Status.OK

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells the round from every other one that was ever measured."""
        run = self.run
        where = run.id, run.invocation, self.machine.host_id
        return *where, self.case.id, self.case.order, self.round, self.started_at


class Measured(msgspec.Struct, frozen=True):
    """What a worker found in one round: the part of a record that it knows."""

    outcome: Outcome
    series: tuple[Series, ...] = ()
    calls: tuple[Call, ...] = ()


VERSION = re.compile(rb'\{"schema_version":(\d+),')
"""How a record's line begins."""

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(RoundRecord)


class OtherVersionError(ValueError):
    """A line is a record of another version of the schema, or of another program's."""

    def __init__(self, version: object) -> None:
        super().__init__(str(version))
        self.version = version


def encode(record: RoundRecord) -> bytes:
    """One line of JSON, without the line's end; what is not finite becomes null."""
    return _ENCODER.encode(record)


def decode(line: bytes) -> RoundRecord:
    """The record in a line that `encode` wrote, of this version of the schema or an older one from 3.

    Raises:
        OtherVersionError: it is of a version that cannot be read, or an object of something else.
        msgspec.DecodeError: it is no JSON, such as a line that a crash cut short, or no record.
    """
    begin = VERSION.match(line)
    version = int(begin[1]) if begin else _version(line)
    if version != SCHEMA_VERSION:
        raise OtherVersionError(version)
    return _DECODER.decode(line)


def _version(line: bytes) -> object:
    found = msgspec.json.decode(line)
    if not isinstance(found, dict):
        raise msgspec.DecodeError("a record is a JSON object")
    return found.get("schema_version")


def schema() -> str:
    """The JSON Schema of a record's line, as `record.schema.json` holds it."""
    return json.dumps(msgspec.json.schema(RoundRecord), indent=1) + "\n"
