"""The schema of one case's configuration. Data only.

Types and keys are checked where the configuration is composed; what only a value can get wrong (a negative
batch, a tolerance of zero), by `validation`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MISSING = "???"  # how OmegaConf spells a value that must be given

ISOLATIONS = ("fork", "spawn", "inline")
SCHEDULES = ("interleaved", "sequential")
ALLOCATORS = ("system", "tuned", "jemalloc", "tcmalloc")
AFFINITIES = ("none", "compact")
LAYOUTS = ("contiguous", "channels_last", "mkldnn")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
CACHES = ("warm", "cold")
LEVELS = ("disabled", "basic", "extended", "layout", "all")
EACH = ("train", "infer")
VIEWS = ("calls", "leaves", "tree", "types", "root")

PROFILE = "profile"
"""The mode whose options are OPTIONS_OF_PROFILE."""

OPTIONS_OF_PROFILE = (
    "mode.training",
    "view",
    "columns",
    "depth",
    "functions",
    "timing",
    "memory",
    "trace",
    "energy.multiply",
    "energy.on_chip",
    "energy.dram",
    "energy.hit_rate",
)

MARGIN = 0.01  # the share by which a ratio of times may be off 1 and still count as the same

NOT_THE_WORK = (
    "measure",
    "isolation",
    "timeout",
    "schedule",
    "schedule_seed",
    "resume",
    "verify",
    "tolerance",
    "experiment",
    "view",
    "columns",
    "depth",
    "functions",
    "trace",
    "energy",
)
"""Settings of how the work is measured, not of the work: left out of `case_id` and of what is compared."""

WORK_OF_MEASURE = ("cold_cache",)
"""Settings under `measure` that are of the work all the same."""

SHOWN = ("view", "columns", "depth", "functions")
"""Settings of how a case is shown."""

OF_THE_RUN = ("schedule", "schedule_seed", "resume", "experiment")
"""Settings of a whole run, which its cases share."""

WAYS = (
    "device",
    "engine",
    "precision",
    "layout",
    "cache_weights",
    "threads",
    "interop_threads",
    "affinity",
    "allocator",
    "env_set",
    "flush_denormal",
    "measure.cold_cache",
)
"""Settings of how the work is done: cases that differ in these alone are alternatives, which are ranked."""


@dataclass
class ModelConfig:
    """What is computed.

    Attributes:
        source: the module of `workloads/` that builds it.
        name: what the tables call it; for `model=layer` the class's own name.
        cls: for layers, the dotted name of an `nn.Module` or of a function of tensors.
        args: positional arguments of the constructor.
        kwargs: keyword arguments of the constructor (of the call, where `cls` is a function).
        call_kwargs: keyword arguments of the call.
        input_shape: shape of one input, without the batch.
        input_count: how many inputs the call takes, all of `input_shape`.
        input_shared: one tensor serves as all inputs (self-attention), instead of one each.
        input_dtype: a floating-point type such as float32 or bfloat16, or an integer type for indices, drawn
            from [0, `input_high`).
        input_high: the exclusive upper bound of index inputs; integers need it.
        input_grad: the input requires a gradient in training (never one of indices); None where the layer has
            no parameters that do.
        num_classes: width of a classifier's output.
        aux_weight: weight of each auxiliary classifier's loss in the training loss.
        part: one layer instead of the whole: a submodule's dotted name, with `:1` behind it for its second
            call; None for the whole.
    """

    source: str = MISSING
    name: str = ""
    cls: str | None = None
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    call_kwargs: dict[str, Any] = field(default_factory=dict)
    input_shape: list[int] = MISSING  # type: ignore[assignment]
    input_count: int = 1
    input_shared: bool = False
    input_dtype: str = "float32"
    input_high: int | None = None
    input_grad: bool | None = None
    num_classes: int = 1000
    aux_weight: float = 0.0
    part: str | None = None


@dataclass
class DeviceConfig:
    """Where it runs.

    Attributes:
        name: the module of `devices/`.
        mkldnn: let torch use oneDNN on the CPU.
    """

    name: str = MISSING
    mkldnn: bool = True


@dataclass
class ModeConfig:
    """Which experiment.

    Attributes:
        name: the module of `modes/`, or `layers`, which stands for a case for each layer of the model.
        each: layers: one of EACH, the mode of those cases.
        training: profile: the forward pass of a training step instead of inference, and the backward pass's
            arithmetic.
    """

    name: str = MISSING
    each: str = "train"
    training: bool = False


@dataclass
class EngineConfig:
    """How it is executed. Which of the options an engine has, OPTIONS_OF says.

    Attributes:
        name: the module of `engines/`.
        freeze: torchscript and libtorch: make parameters constants.
        optimize: torchscript and libtorch: fuse for inference too, which implies freezing.
        backend: compile: the backend's name.
        mode: compile: one of COMPILE_MODES.
        freezing: compile and export: make parameters constants.
        dynamic: compile: compile for any batch size; None lets torch decide.
        cpp_wrapper: compile: call the kernels from C++.
        cache: compile and export: one of CACHES; `cold` compiles with empty caches.
        level: onnxruntime: one of LEVELS, how far it optimizes the graph.
        copies: onnxruntime: time the copies of inputs and outputs too.
    """

    name: str = MISSING
    freeze: bool = False
    optimize: bool = False
    backend: str = "inductor"
    mode: str = "default"
    freezing: bool = False
    dynamic: bool | None = None
    cpp_wrapper: bool = False
    cache: str = "warm"
    level: str = "all"
    copies: bool = False


OPTIONS_OF = {
    "torchscript": ("freeze", "optimize"),
    "libtorch": ("freeze", "optimize"),
    "compile": ("backend", "mode", "freezing", "dynamic", "cpp_wrapper", "cache"),
    "export": ("freezing", "cache"),
    "onnxruntime": ("level", "copies"),
}
"""By an engine, its options; the other engines have none."""


@dataclass
class PrecisionConfig:
    """In which number format.

    Attributes:
        name: what the tables call it.
        cast: the type that parameters and inputs are cast to; None leaves them fp32.
        autocast: the type that torch.autocast computes in; None does without.
        tolerance: how far an output may be off eager fp32's, as a share of the largest output, to count as
            the same answer.
        gradient_tolerance: how far the gradients of one step may be off, as a share of their norm.
    """

    name: str = MISSING
    cast: str | None = None
    autocast: str | None = None
    tolerance: float = 1e-4
    gradient_tolerance: float = 1e-3


@dataclass
class OptimizerConfig:
    """How the update phase updates: class `cls` of `torch.optim`, with `lr` and `kwargs`."""

    name: str = MISSING
    cls: str = MISSING
    lr: float = MISSING  # type: ignore[assignment]
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class MeasureConfig:
    """How precisely it is measured; every time is in seconds.

    Attributes:
        rounds: fresh processes that each measure the case; the interval is over them.
        rel_ci: stop a round once its median's 95 % interval is within ± this share of the median.
        min_time: shortest time spent sampling.
        max_time: longest time spent sampling; a slow case may overrun it to reach its least samples.
        min_samples: fewest samples before `rel_ci` may stop the sampling; below 3, before `max_time` may too.
        max_samples: most samples.
        min_sample: shortest sample; calls of inference are repeated within a sample to reach it.
        max_warmup: longest time spent warming up.
        cold_cache: evict the caches before each sample.
    """

    rounds: int = 6
    rel_ci: float = 0.02
    min_time: float = 0.5
    max_time: float = 5.0
    min_samples: int = 20
    max_samples: int = 10_000
    min_sample: float = 100e-6
    max_warmup: float = 5.0
    cold_cache: bool = False


@dataclass
class ExperimentConfig:
    """What a preset adds to the options of its cases. The same for all cases of a run.

    Attributes:
        name: the preset's name; None without one.
        reference: the published table to show beside what was measured.
        ways: alternatives that are no product of axes: a list of overrides for each. A sweep is the product
            of its axes with the ways.
        search: look for the fastest of the ways: drop losers early, and give rounds to those that lead.
        budget: seconds that a search may take.
    """

    name: str | None = None
    reference: str | None = None
    ways: list[list[str]] = field(default_factory=list)
    search: bool = False
    budget: float = 300.0


@dataclass
class EnergyConfig:
    """What a profile's estimate of energy takes operations to cost, in pJ; sources: docs/profile.md.

    Attributes:
        multiply: of a multiply-accumulate; None for what the number format is taken to cost.
        on_chip: of an access to 32 bits in a cache.
        dram: of an access to 32 bits in memory.
        hit_rate: the share of accesses that a cache answers.
    """

    multiply: float | None = None
    on_chip: float = 5.0
    dram: float = 640.0
    hit_rate: float = 0.8


@dataclass
class Config:
    """One case, fully resolved.

    Attributes:
        model: what is computed.
        device: where.
        mode: which experiment.
        engine: how.
        precision: in which number format.
        optimizer: what the update phase does.
        measure: how precisely.
        batch_size: items in a batch.
        layout: one of LAYOUTS: how tensors lie in memory.
        cache_weights: with layout=mkldnn, repack weights once and not in each call.
        verify: check that the answer is that of eager fp32.
        tolerance: how far the answer may be off, as a share; None for what `precision` says.
        threads: threads of an operation; None for the physical cores this process may use.
        interop_threads: threads that run operations side by side; None for torch's default.
        affinity: the CPUs to run on: `none` for all there are, `compact` for as many cores as threads, or a
            list of CPUs.
        allocator: one of ALLOCATORS: the memory allocator of the host.
        env_set: environment variables of the process that measures, set before it imports torch.
        flush_denormal: treat denormal numbers as zero.
        seed: what weights and inputs are drawn from.
        isolation: one of ISOLATIONS: a fresh process forked from one that has imported torch, a new
            interpreter, or this process.
        timeout: seconds a round of the case may take in all; None for no limit.
        schedule: one of SCHEDULES: the rounds of all cases in turn, in an order drawn anew for each round, or
            one case after the other. The same for all cases of a run.
        schedule_seed: what that order is drawn from; None to draw it. The same for all cases of a run.
        resume: the folder of a run to complete; None for a new one. The same for all cases of a run.
        experiment: what the preset adds that the run began with.
        view: profile: one of VIEWS, how its calls are summed up.
        columns: profile: the columns to show; `~name` leaves one of the usual ones out.
        depth: profile: how deep the tree is shown; None for all of it.
        functions: profile: show torch's operators outside the innermost modules too.
        timing: profile: time the calls; without, it is done on paper alone.
        memory: profile: follow the memory that the calls allocate.
        trace: profile: write a trace for Perfetto or chrome://tracing too.
        energy: profile: what the estimate of energy assumes.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    mode: ModeConfig = field(default_factory=ModeConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    batch_size: int = 8
    layout: str = "contiguous"
    cache_weights: bool = True
    verify: bool = True
    tolerance: float | None = None
    threads: int | None = None
    interop_threads: int | None = None
    affinity: Any = "none"
    allocator: str = "system"
    env_set: dict[str, str] = field(default_factory=dict)
    flush_denormal: bool = False
    seed: int = 0
    isolation: str = "fork"
    timeout: float | None = 1800.0
    schedule: str = "interleaved"
    schedule_seed: int | None = None
    resume: str | None = None
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)
    view: str = "calls"
    columns: list[str] = field(default_factory=list)
    depth: int | None = None
    functions: bool = True
    timing: bool = True
    memory: bool = True
    trace: bool = False
    energy: EnergyConfig = field(default_factory=EnergyConfig)

    @property
    def on_paper(self) -> bool:
        """Whether nothing is measured: the case is a profile of what calls cost on paper."""
        return self.mode.name == PROFILE and not self.timing


def value_of(config: Config, key: str) -> Any:
    """The value at a dotted key, such as `measure.rel_ci`."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def axes_of(config: Config) -> dict[str, Any]:
    """The settings that are a record's axes, by the name of their column."""
    affinity = config.affinity
    return {
        "model": config.model.name,
        "part": config.model.part,
        "mode": config.mode.name,
        "device": config.device.name,
        "engine": config.engine.name,
        "precision": config.precision.name,
        "optimizer": config.optimizer.name,
        "layout": config.layout,
        "cache_weights": config.cache_weights,
        "batch_size": config.batch_size,
        "input_shape": "x".join(map(str, config.model.input_shape)),
        "threads": config.threads,
        "interop_threads": config.interop_threads,
        "affinity": ",".join(map(str, affinity)) if isinstance(affinity, list) else str(affinity),
        "allocator": config.allocator,
        "flush_denormal": config.flush_denormal,
        "cold_cache": config.measure.cold_cache,
        "seed": config.seed,
        "isolation": config.isolation,
        "verify": config.verify,
    }
