"""The record: the result of one round of one case, as one line of a run's file.

This is the only place that defines a record: its types, its encoding as a line of JSON, and its decoding.
Everything here is plain data that both the parent, which has no torch, and the workers can import. Times are
in seconds, memory in bytes, frequencies in Hz; an unknown value is None, never NaN.
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
"""The schedule of a search for the fastest configuration."""

ADAPTIVE = "adaptive"
"""The schedule in which configurations that are certainly slower than the fastest get no more rounds."""

DOCTOR = "doctor"
"""The command whose runs have their own kind of report."""

Scalar = str | int | float | bool | None

LEAST_SECONDS = 0.05  # the kernel counts in hundredths: fewer than five say nothing about a rate
WAITED = 0.05  # seconds per second by which times may be too long
STOLEN = 0.02  # of the time
THROTTLED = 0.01  # seconds per second


class Status(StrEnum):
    """How a case ended."""

    OK = "ok"
    MISMATCH = "mismatch"
    OOM = "oom"
    ERROR = "error"
    TIMEOUT = "timeout"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"
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
    SETUP = "setup"
    BUDGET = "budget"


class RoundsReason(StrEnum):
    """Why a case has the number of rounds that it has."""

    GIVEN = "given"
    ENOUGH = "enough"
    BUDGET = "budget"
    DECIDED = "decided"


class WarningCode(StrEnum):
    """Codes of doubts about a measured number; each warning gives a remedy."""

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
    GPU_THROTTLED = "gpu_throttled"
    GPU_SHARED = "gpu_shared"
    GPU_CLOCK_MOVED = "gpu_clock_moved"
    GPU_NOT_IDLE = "gpu_not_idle"
    UNVERIFIED = "unverified"
    IMPLAUSIBLE = "implausible"
    NO_TRACE = "no_trace"
    OTHER_CLOCK = "other_clock"


class Role(StrEnum):
    """A phase's role in its mode: a part of the step, the whole step, or a one-off phase."""

    PART = "part"
    WHOLE = "whole"
    ONCE = "once"


class Kind(StrEnum):
    """The kind of a profiled call.

    A leaf module (calls no other module), a torch operator called outside leaf modules, a module that calls
    others, or the time between the calls that is in none of them.
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
    """The summary of a series' samples.

    Attributes:
        n: number of samples.
        n_effective: number of independent samples that would tell as much about the median.
        median: seconds per call.
        ci_low: lower end of the median's interval within this process; None with too few samples for one.
        ci_high: its upper end.
        confidence: the interval's level.
        mean: seconds per call.
        std: sample standard deviation; None for one sample.
        min: seconds per call.
        max: seconds per call.
        q25: lower quartile.
        q75: upper quartile.
        p90: the 90th percentile; None if less than one sample is expected to be above it.
        p95: the 95th, likewise.
        p99: the 99th.
        p99_9: the 99.9th.
        drift: rise of Theil and Sen's line from the first to the last sample, relative to the median; None
            for few samples.
        drift_tau: Kendall's rank correlation of samples and time.
        drift_p: probability of so large a correlation without a trend.
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
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99_9: float | None = None
    drift: float | None
    drift_tau: float | None
    drift_p: float | None

    @property
    def half_width(self) -> float | None:
        """Half-width of the interval relative to the median; None without an interval."""
        if self.ci_low is None or self.ci_high is None or self.median <= 0:
            return None
        return (self.ci_high - self.ci_low) / 2 / self.median


class Series(msgspec.Struct, frozen=True):
    """The ordered samples of one phase, and the phase's warm-up.

    Attributes:
        phase: its name.
        clock: the clock that they were read on; empty if none was.
        samples: seconds per call, in order.
        warmup: seconds of each warm-up step, in order.
        calls_per_sample: number of calls per sample.
        summary: the samples' summary; None if the round ended before it was made.
        role: the phase's role in its mode. One-off phases (prepare, first_call) are not sampled: the stopping
            rule and the sensors' readings do not apply to them.
        of_layers: whether a model's time in this phase is the sum of its layers' times.
        resolution: what the clock resolves of a sample, in seconds per call; 0 if that does not matter.
        sm_clocks: the clock rate of a GPU's processors in Hz during each sample, if it was measured.
    """

    phase: str
    clock: str
    samples: list[float]
    warmup: list[float] = []
    calls_per_sample: int = 1
    summary: Summary | None = None
    role: Role = Role.PART
    of_layers: bool = False
    resolution: float = 0.0
    sm_clocks: list[float] = []


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call within a profiled module, with its costs; a cost that was not counted or measured is None.

    Attributes:
        name: the module's dotted name; empty for the whole model. An operator's is its caller's and its own.
        index: its place among the calls of leaf modules and operators, from 0; None for a module that calls
            others.
        order: its place among all calls in the order in which they begin, from 0.
        depth: number of calls that contain it.
        kind: its kind.
        type: the class's name, or the operator's.
        in_shape: the shapes of its inputs, such as `(1, 3, 224, 224)`; several are joined by commas.
        out_shape: the shapes of its outputs.
        dtype: the number format of its outputs.
        params: number of parameters.
        flops: floating-point operations.
        macc: multiply-accumulates.
        mem_r: bytes read.
        mem_w: bytes written.
        backward: floating-point operations of the backward pass.
        unknown: operators without a rule, whose operations are not counted; None if there are none.
        mem_alloc: bytes that it allocates and does not free.
        mem_peak: peak in bytes above the level at its start.
        mem_total: bytes allocated at its end above the level at the model's start.
        times: seconds including all calls within it, one per pass; empty if it was not timed.
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
    """The sensors' readings of the process and its CPUs while a case was sampled.

    A value that the system does not report is None.

    Attributes:
        sampling_seconds: duration of the sampling, in seconds.
        page_faults_per_call: page faults without disk access.
        page_fault_cost: CPU seconds per page fault; measured only if there are many.
        page_fault_share: share of the process's CPU time that page faults take.
        involuntary_switches: how often the kernel took a CPU away.
        cpu_utilization: CPU seconds per second (2.0: two busy CPUs).
        system_utilization: the part of them that the kernel spent for the process.
        run_delay: seconds per second that the process's threads, in total, were ready but had no CPU.
        foreign_cpus: number of the CPUs that the process may use that others kept busy.
        steal: share of the time in which these CPUs had work that the hypervisor ran something else.
        throttled: seconds for which the control group's quota stopped its processes.
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

    @property
    def had_foreign_load(self) -> bool:
        """Whether threads waited for a CPU that others used: waiting for each other is not foreign load."""
        waited, foreign = self.run_delay or 0.0, self.foreign_cpus or 0.0
        return min(waited, foreign) >= WAITED and foreign * self.sampling_seconds >= LEAST_SECONDS

    @property
    def was_stolen(self) -> bool:
        """Whether the hypervisor ran something else meanwhile."""
        share = self.steal or 0.0
        return share >= STOLEN and share * self.sampling_seconds >= LEAST_SECONDS

    @property
    def was_throttled(self) -> bool:
        """Whether the control group's quota stopped its processes."""
        return self.throttled is not None and self.throttled >= THROTTLED * self.sampling_seconds

    @property
    def is_disturbed(self) -> bool:
        """Whether something else slowed the process down.

        It depends on rates of the sensors alone, never on the samples, so that leaving such rounds out does
        not favour fast ones.
        """
        return self.had_foreign_load or self.was_stolen or self.was_throttled


class MemorySource(StrEnum):
    """How the memory that a process takes on a GPU was found."""

    PROCESS_GROUP = "process_group"
    NEW_ENTRY = "new_entry"
    DEVICE = "device"
    ALLOCATOR = "allocator"


class GpuTimeline(msgspec.Struct, frozen=True, kw_only=True):
    """The readings of a GPU while a case was sampled, in order; all columns have the same length.

    Attributes:
        seconds: since the sampling began.
        memory: bytes in use on the device, by all processes together.
        sm_clock: Hz of the multiprocessors.
        memory_clock: Hz of the memory.
        power: watts.
        temperature: °C.
        reasons: what held the clock down: the bits of NVML.
        energy: joules since the first reading.
    """

    seconds: list[float] = []
    memory: list[int | None] = []
    sm_clock: list[float | None] = []
    memory_clock: list[float | None] = []
    power: list[float | None] = []
    temperature: list[float | None] = []
    reasons: list[int | None] = []
    energy: list[float | None] = []


class GpuReadings(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of the GPU while a case was measured; an unknown value is None.

    Attributes:
        context: bytes that the process took before the model was built: CUDA's context.
        process: bytes that it took at the end of the sampling, the context included.
        contexts: number of contexts among these: an engine's own program has another.
        memory_source: how these were found; where it is `allocator`, `process` is `reserved`.
        allocated: the most bytes that torch's allocator handed out, above the level before the model.
        reserved: the most bytes that it had reserved, blocks that it kept included.
        others: the number of other processes on the GPU, where it was highest.
        memory_moved: bytes by which the memory in use changed during the sampling, through others.
        busy_before: the share of the time in which the GPU was at work before the case began.
        sm_clock: median Hz of the multiprocessors during the sampling.
        sm_clock_min: the lowest; of the samples' own clocks, the 5th percentile.
        sm_clock_max: the highest, or the 95th percentile.
        sm_clock_limit: the highest that the GPU has.
        memory_clock: median Hz of the memory.
        power: mean watts.
        temperature: the highest, in °C.
        reasons: the share of the readings in which each reason held the clock down.
        throttled_samples: the samples, as first and last index from 0, during which a reading showed
            throttling.
        watching: CPU seconds per second that the readings took.
        timeline: the readings.
    """

    context: int | None = None
    process: int | None = None
    contexts: int = 1
    memory_source: MemorySource | None = None
    allocated: int | None = None
    reserved: int | None = None
    others: int | None = None
    memory_moved: int | None = None
    busy_before: float | None = None
    sm_clock: float | None = None
    sm_clock_min: float | None = None
    sm_clock_max: float | None = None
    sm_clock_limit: float | None = None
    memory_clock: float | None = None
    power: float | None = None
    temperature: float | None = None
    reasons: dict[str, float] = {}
    throttled_samples: list[tuple[int, int]] = []
    watching: float | None = None
    timeline: GpuTimeline = GpuTimeline()

    @property
    def memory(self) -> int | None:
        """Bytes that the model and its calls take on the GPU: the process without CUDA's contexts."""
        if self.process is None or self.memory_source is MemorySource.ALLOCATOR:
            return self.process
        return None if self.context is None else max(0, self.process - self.contexts * self.context)


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """The measured energy of a call or a training step.

    Attributes:
        joules: per call, idle power included, by the device's counter; None if it was not measured.
        integral: the same by the device's power at many moments, as a check; None if it tells none.
        idle: watts of the idle device, measured just before.
        period: seconds between two movements of the counter.
        seconds: how long it was measured, from one movement of the counter to another.
        calls: the calls meanwhile.
        missing: why it was not measured; None if it was.
    """

    joules: float | None = None
    integral: float | None = None
    idle: float | None = None
    period: float | None = None
    seconds: float | None = None
    calls: float | None = None
    missing: str | None = None


class Check(msgspec.Struct, frozen=True):
    """The comparison of a case's answer with eager fp32's for the same weights and inputs.

    Attributes:
        answer: within tolerance or not, or eager fp32's own answer is too sensitive to tell; or the case is
            plain eager fp32 itself; or the check was off. None if it was not done: in rounds after the first,
            and if it failed.
        error_abs: the largest absolute error of an output (in training: of the loss, or a layer's outputs).
        error_rel: the largest error relative to the largest value of the same output.
        top1_agreement: the share of the batch for which a classifier's first choice is the same.
        gradient_error: the norm of the gradients' differences over the norm of the gradients.
        tolerance: largest allowed `error_rel`.
        gradient_tolerance: largest allowed `gradient_error`.
    """

    answer: Correctness | None = None
    error_abs: float | None = None
    error_rel: float | None = None
    top1_agreement: float | None = None
    gradient_error: float | None = None
    tolerance: float | None = None
    gradient_tolerance: float | None = None


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """The actual settings of the measuring process; None if it ended before it reported them.

    Attributes:
        allocator: the memory allocator of the host.
        threads: threads per operation: torch's, or those of the engine's own library.
        interop_threads: operations that run concurrently, likewise.
        cpus: the CPUs it may use, such as `0-3`.
        flush_denormal: whether denormal numbers count as zero.
        engine: the library that ran the case, with its version.
        arithmetic: the instructions that multiplied, such as `avx512_bf16`; None if unknown.
        conversions: layout conversions per call; None if none are needed.
        input_grad: whether an input requires a gradient.
        products: the precision of fp32 products on the GPU: `ieee` or `tf32`.
        cudnn_benchmark: whether cuDNN tries its algorithms and takes the fastest.
        deterministic: whether only deterministic algorithms are used on the GPU.
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
    products: str | None = None
    cudnn_benchmark: bool | None = None
    deterministic: bool | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a round of a case ended, and its results besides the times of its phases.

    Attributes:
        status: ok, or what went wrong.
        error: one line that says what went wrong and what to do; None if nothing did.
        traceback: the worker's own traceback.
        stop_reason: the rule that ended the sampling.
        warnings: doubts about what was measured.
        params: the number of the model's parameters.
        inputs: the shapes of a call's inputs, such as `8x3x224x224`; several are joined by commas.
        item: the name of what the throughput counts: images, tokens, items.
        items: their number in a call; None for that of the batch.
        peak_memory: bytes: of the process's resident memory, or of torch's allocator on the device; of an
            engine that allocates by itself there, of the process on the device.
        joules: measured energy per call.
        energy: how the joules were measured, or why not; None if the device measures none of steps.
        readings: the sensors' readings during the sampling; None if nothing was sampled.
        gpu: what was read of the GPU; None if the case did not run on one.
        check: the check of the answer against eager fp32's.
        process: the process's actual settings.
        peaks: the machine's peaks; None if not measured.
        trace: the file that a trace was written to.
    """

    status: Status = Status.OK
    error: str | None = None
    traceback: str | None = None
    stop_reason: StopReason | None = None
    warnings: tuple[BenchmarkWarning, ...] = ()
    params: int | None = None
    inputs: str | None = None
    item: str | None = None
    items: int | None = None
    peak_memory: int | None = None
    joules: float | None = None
    energy: Energy | None = None
    readings: Readings | None = None
    gpu: GpuReadings | None = None
    check: Check = Check()
    process: Process = Process()
    peaks: Peaks | None = None
    trace: str | None = None


def unverified(outcome: Outcome, reason: str) -> Outcome:
    """Return an outcome with the warning that its answer could not be checked, and why."""
    warning = BenchmarkWarning(WarningCode.UNVERIFIED, f"{reason}; verify=false leaves the check out")
    return replace(outcome, warnings=(*outcome.warnings, warning))


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The run of a round.

    Attributes:
        id: the run: its start in UTC and eight random digits.
        invocation: eight random digits of the command that measured the round; a run that was completed later
            has several.
        command: the microbench command that began it, such as `doctor`; empty if it measures cases.
        command_line: the whole command line that began it; None for a run from Python.
        schedule: interleaved, adaptive, sequential or search.
        schedule_seed: seed of the order.
        cases: the number of its cases; a search may add some. None if unknown.
    """

    id: str
    invocation: str = ""
    command: str = ""
    command_line: str | None = None
    schedule: str = "interleaved"
    schedule_seed: int | None = None
    cases: int | None = None


class DistinctLayer(msgspec.Struct, frozen=True):
    """A distinct layer of a model, with all identical ones.

    Attributes:
        part: its first call as a value of `model.part`.
        name: the dotted name of the module that is called first.
        index: the place of that call among all calls of layers, from 0.
        type: the class's name.
        arguments: the arguments of its constructor.
        in_shape: the shapes of its inputs, such as `(1, 3, 224, 224)`; several are joined by commas.
        count: how often the model calls it or an identical one.
        unmeasured: why it is not measured; None if it is.
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
    """The specification of the measured case.

    Attributes:
        id: hash of the options that define the work and differ from their defaults.
        order: the case's place in the run, from 0.
        command: the command line that measures it again, including device and threads.
        config: the whole resolved configuration.
        layer: the layer of a model that it measures, if mode=layers found it.
    """

    id: str
    order: int
    command: str
    config: Config
    layer: DistinctLayer | None = None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine and its software; a value that the system does not report is None.

    Attributes:
        host_id: hash that identifies the machine.
        cpu: the processor's name.
        physical_cores: cores that this process may use.
        usable_cpus: CPUs that it may use.
        cpu_quota: CPU time that a control group grants, in CPUs.
        memory: bytes.
        os: the system and its version.
        arch: such as `x86_64`.
        gpu: the accelerator's name, if the case runs on one.
        gpu_uuid: its UUID, which distinguishes GPUs of one model.
        gpu_memory: its memory in bytes.
        gpu_driver: its driver's version.
        gpu_capability: its compute capability, such as `9.0`.
        gpu_ecc: whether its memory corrects errors.
        gpu_mig: whether it is divided into parts (multi-instance GPU).
        gpu_power_limit: watts.
        gpu_clock_max: the highest clock of its multiprocessors in Hz.
        gpu_memory_clock_max: that of its memory.
        gpu_pcie: its link to the host while it was described, such as `gen 5 x16`; it may be slower at rest.
        gpu_pstate: its performance state then, `P0` is the highest.
        cuda: the version of CUDA that torch was built for.
        event_tick: resolution of a CUDA event's time in seconds.
        cudnn: the version of cuDNN.
        cuda_alloc_conf: the environment variable that configures torch's allocator on the GPU.
        nvidia_tf32_override: the environment variable that forbids or allows TF32 over torch's flags.
        cpu_capability: the widest vector instructions of torch's own kernels.
        cpu_limits: the environment variables that limit those of its libraries.
        smt: whether two CPUs share a core.
        sockets: number of processors.
        numa_nodes: number of NUMA nodes.
        governor: the frequency governor.
        turbo: whether the clock rate may temporarily rise above the nominal one.
        frequency_driver: the driver that sets the clock rate.
        frequency_min: Hz.
        frequency_max: Hz.
        cgroup_version: 1 or 2.
        memory_limit: bytes that a control group grants.
        thp: transparent huge pages: always, madvise or never.
        huge_pages: number of static huge pages.
        huge_page_size: bytes.
        load_average: of one minute, at the start.
        clock_source: the kernel's clock source.
        clock_sources: the available clock sources.
        clock_step: resolution of the clock in seconds.
        clock_cost: seconds per reading of the clock.
        hypervisor: the hypervisor, if any.
        on_battery: whether a battery is discharging.
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
        cuda_visible_devices: the environment variable, as the user has set it.
        extra: facts on a device of another package.
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
    gpu_uuid: str | None = None
    gpu_memory: int | None = None
    gpu_driver: str | None = None
    gpu_capability: str | None = None
    gpu_ecc: bool | None = None
    gpu_mig: bool | None = None
    gpu_power_limit: float | None = None
    gpu_clock_max: float | None = None
    gpu_memory_clock_max: float | None = None
    gpu_pcie: str | None = None
    gpu_pstate: str | None = None
    cuda: str | None = None
    event_tick: float | None = None
    cudnn: str | None = None
    cuda_alloc_conf: str | None = None
    nvidia_tf32_override: str | None = None
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
    cuda_visible_devices: str | None = None
    extra: dict[str, Scalar] = {}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a round was granted, from what its case had cost until then.

    Attributes:
        rounds: the number of undisturbed rounds that the case was to have.
        reason: why so many.
        seconds: the round's share of measure.budget; None without a budget.
        spent: seconds that the case had taken before, its part of the start-up included.
        most: the most rounds that it could have, where their number depends on what they find, so that
            verdicts have to allow for a look after each; None elsewhere.
    """

    rounds: int
    reason: RoundsReason
    seconds: float | None = None
    spent: float = 0.0
    most: int | None = None


class RoundRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One round of one case: a line of a run's file.

    Attributes:
        schema_version: the line's version; see SCHEMA_VERSION.
        run: the run.
        case: the case.
        round: the number of the round among the case's, from 0.
        turn: its place among all rounds of all cases, from 0.
        started_at: when it began, in UTC.
        machine: the machine that measured it.
        outcome: how it ended, and its results besides times.
        series: the samples of its phases; if the round failed, those up to then.
        calls: in a profile, every call that the module makes.
        seconds: how long it took, with starting its process and checking the answer; None if unknown.
        startup: the part of it before the process began to work; importing torch, if no other round did.
        checking: the part of it after the measurement, in which the answer was checked.
        plan: what it was granted; None if unknown.
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
    seconds: float | None = None
    startup: float = 0.0
    checking: float = 0.0
    plan: Plan | None = None

    @property
    def ok(self) -> bool:
        """Whether the round ended well."""
        return self.outcome.status is Status.OK

    @property
    def is_disturbed(self) -> bool:
        """Whether the sensors say that something else slowed it down while it was sampled."""
        return self.outcome.readings is not None and self.outcome.readings.is_disturbed

    @property
    def items(self) -> int:
        """The number of items in a call, which the throughput counts."""
        return self.outcome.items or self.case.config.batch_size

    @property
    def identity(self) -> tuple[object, ...]:
        """The key that identifies the round among all that were ever measured."""
        run = self.run
        where = run.id, run.invocation, self.machine.host_id
        return *where, self.case.id, self.case.order, self.round, self.started_at


class Measured(msgspec.Struct, frozen=True):
    """A worker's result of one round: the part of a record that it knows."""

    outcome: Outcome
    series: tuple[Series, ...] = ()
    calls: tuple[Call, ...] = ()


VERSION = re.compile(rb'\{"schema_version":(\d+),')
"""The beginning of a record's line."""

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(RoundRecord)


class OtherVersionError(ValueError):
    """A line is a record of another version of the schema, or of another program."""

    def __init__(self, version: object) -> None:
        super().__init__(str(version))
        self.version = version


def encode(record: RoundRecord) -> bytes:
    """Encode a record as one line of JSON, without a newline; numbers that are not finite become null."""
    return _ENCODER.encode(record)


def decode(line: bytes) -> RoundRecord:
    """Decode a line that `encode` wrote, of this schema version or an older one from 3.

    Raises:
        OtherVersionError: it is of an unreadable version, or another kind of object.
        msgspec.DecodeError: it is not JSON, such as a line truncated by a crash, or not a record.
    """
    check_version(line)
    return _DECODER.decode(line)


def check_version(line: bytes) -> None:
    """Reject a line that is not a record of this version of the schema.

    Raises:
        OtherVersionError: it is of an unreadable version, or another kind of object.
        msgspec.DecodeError: it is not JSON.
    """
    begin = VERSION.match(line)
    version = int(begin[1]) if begin else _version(line)
    if version != SCHEMA_VERSION:
        raise OtherVersionError(version)


def _version(line: bytes) -> object:
    found = msgspec.json.decode(line)
    if not isinstance(found, dict):
        raise msgspec.DecodeError("a record is a JSON object")
    return found.get("schema_version")


def schema() -> str:
    """Return the JSON Schema of a record's line, as in `record.schema.json`."""
    return json.dumps(msgspec.json.schema(RoundRecord), indent=1) + "\n"
