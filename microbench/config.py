"""The schema of one case's configuration, and the check of its values. Data only, no side effects.

Types and keys are checked where the configuration is composed; what only a value can get wrong (a negative
batch, a tolerance of zero) is checked by `validate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from microbench.errors import UserError, unknown

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
        input_grad: the input requires a gradient in training (always false for index inputs).
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
    input_grad: bool = False
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
        min_samples: fewest samples before `rel_ci` may stop the sampling.
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


def _positive(value: float) -> bool:
    return 0 < value < math.inf


def _not_negative(value: float) -> bool:
    return 0 <= value < math.inf


def _at_least_one(value: int) -> bool:
    return value >= 1


def _is_affinity(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(type(cpu) is int and cpu >= 0 for cpu in value)
    return value in AFFINITIES


RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "batch_size": (_at_least_one, "an integer of at least 1"),
    "threads": (_at_least_one, "an integer of at least 1, or null for the physical cores"),
    "interop_threads": (_at_least_one, "an integer of at least 1, or null for torch's default"),
    "affinity": (_is_affinity, "none, compact, or a list of CPUs such as [0,1]"),
    "seed": (_not_negative, "an integer of at least 0"),
    "schedule_seed": (_not_negative, "an integer of at least 0, or null to draw one"),
    "tolerance": (_positive, "a share above 0 (0.01 is 1 %), or null for the precision's own"),
    "precision.tolerance": (_positive, "a share above 0 (0.01 is 1 %)"),
    "precision.gradient_tolerance": (_positive, "a share above 0 (0.01 is 1 %)"),
    "experiment.budget": (_positive, "a number of seconds above 0"),
    "timeout": (_positive, "a number of seconds above 0, or null for none"),
    "model.input_count": (_at_least_one, "an integer of at least 1"),
    "model.input_high": (_at_least_one, "an integer of at least 1"),
    "model.num_classes": (_at_least_one, "an integer of at least 1"),
    "model.input_shape": (lambda shape: all(size >= 1 for size in shape), "a list of sizes of at least 1"),
    "depth": (_not_negative, "an integer of at least 0, or null for the whole tree"),
    "energy.multiply": (_not_negative, "a number of pJ of at least 0, or null for the number format's own"),
    "energy.on_chip": (_not_negative, "a number of pJ of at least 0"),
    "energy.dram": (_not_negative, "a number of pJ of at least 0"),
    "energy.hit_rate": (lambda share: 0 <= share <= 1, "a share from 0 to 1"),
    "optimizer.lr": (_not_negative, "a number of at least 0"),
    "measure.rounds": (_at_least_one, "an integer of at least 1"),
    "measure.rel_ci": (lambda share: 0 < share < 1, "a share between 0 and 1, both excluded (0.01 is 1 %)"),
    "measure.min_time": (_not_negative, "a number of seconds of at least 0"),
    "measure.max_time": (_positive, "a number of seconds above 0"),
    "measure.min_samples": (_at_least_one, "an integer of at least 1"),
    "measure.max_samples": (_at_least_one, "an integer of at least 1"),
    "measure.min_sample": (_not_negative, "a number of seconds of at least 0"),
    "measure.max_warmup": (_not_negative, "a number of seconds of at least 0"),
}


DEFAULTS = Config()

NAMES = {
    "isolation": ISOLATIONS,
    "schedule": SCHEDULES,
    "allocator": ALLOCATORS,
    "layout": LAYOUTS,
    "engine.mode": COMPILE_MODES,
    "engine.cache": CACHES,
    "engine.level": LEVELS,
    "mode.each": EACH,
    "view": VIEWS,
}


def value_of(config: Config, key: str) -> Any:
    """The value at a dotted key, such as `measure.rel_ci`."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def validate(config: Config) -> None:
    """Raise a UserError that names the first value that no run could use, and what is allowed instead."""
    for key, (holds, allowed) in RULES.items():
        value = value_of(config, key)
        if (value is not None or key == "affinity") and not holds(value):  # its type lets null through
            raise UserError(f"{key}={value} is not possible: give {allowed}.")
    if config.model.source == "layer" and not config.model.cls:
        raise UserError("model.cls must be given, for example model.cls=torch.nn.GELU.")
    for key, names in NAMES.items():
        if value_of(config, key) not in names:
            raise unknown(key, value_of(config, key), names)
    _check_options(config.engine)
    _check_layers(config)
    _check_profile(config)
    if not config.cache_weights and config.layout != "mkldnn":
        raise UserError(
            f"cache_weights=false is an option of layout=mkldnn: layout={config.layout} has none."
        )
    if config.isolation == "inline" and config.measure.rounds > 1:
        raise UserError(
            f"measure.rounds={config.measure.rounds} wants fresh processes, which isolation=inline has not: "
            "add measure.rounds=1."
        )


def _check_layers(config: Config) -> None:
    """Refuse what makes no sense with `mode=layers`, or without it."""
    if config.mode.name != "layers":
        if config.mode.each != ModeConfig.each:
            raise UserError(
                f"mode.each={config.mode.each} is an option of mode=layers: mode={config.mode.name} has none "
                "of that name."
            )
    elif config.model.part is not None:
        raise UserError(
            f"mode=layers takes the whole model apart: leave out model.part={config.model.part}, or give "
            f"mode={config.mode.each} to measure it alone."
        )
    elif config.experiment.search:
        raise UserError("A search is for one work, and mode=layers has many: give mode=train or mode=infer.")


def _check_profile(config: Config) -> None:
    """Refuse an option of `mode=profile` with another mode, or with what leaves it nothing to do."""
    if config.mode.name != PROFILE:
        for key in OPTIONS_OF_PROFILE:
            if (value := value_of(config, key)) != value_of(DEFAULTS, key):
                raise UserError(
                    f"{key}={_spelled(value)} is an option of mode=profile: mode={config.mode.name} has none "
                    "of that name."
                )
    elif config.experiment.search:
        raise UserError(
            "A search compares ways by their time alone, and mode=profile tells more: give mode=infer."
        )
    elif config.depth is not None and config.view != "tree":
        raise UserError(f"depth={config.depth} is an option of view=tree: view={config.view} has no depth.")
    elif config.measure.cold_cache:
        raise UserError(
            "measure.cold_cache=true evicts the caches before a sample, and one of mode=profile is several "
            "calls: measure a layer alone, with model.part=NAME mode=infer."
        )
    elif not config.timing:
        if config.trace:
            raise UserError("trace=true traces a call, which timing=false leaves out.")
        if not config.memory:
            raise UserError("memory=false has nothing to leave out: timing=false makes no call to follow.")


def _spelled(value: Any) -> str:
    """A value as it is given on a command line."""
    return f"[{','.join(value)}]" if isinstance(value, list) else str(value).lower()


def _check_options(engine: EngineConfig) -> None:
    """Refuse an option that the engine does not have: it would do nothing."""
    for option in fields(EngineConfig):
        value = getattr(engine, option.name)
        if option.name == "name" or value == option.default or option.name in OPTIONS_OF.get(engine.name, ()):
            continue
        owners = " and ".join(
            f"engine={name}" for name, options in OPTIONS_OF.items() if option.name in options
        )
        raise UserError(
            f"engine.{option.name}={str(value).lower()} is an option of {owners}: engine={engine.name} has "
            "none of that name."
        )
