"""The options of a case, each declared once, and which of them exclude each other.

Types and keys are checked when the configuration is composed; values, against the declarations here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import PurePath
from typing import Any

from microbench.errors import UserError
from microbench.schema import (
    ANY,
    FOLDER,
    Option,
    Role,
    Rule,
    Scope,
    axes_in,
    check,
    group,
    option,
    options_of,
)

MISSING = "???"  # OmegaConf's mark for a value that must be given

LAYOUTS = {"contiguous": "", "channels_last": "", "mkldnn": "oneDNN's blocked layout"}
ALLOCATORS = {"system": "", "tuned": "glibc keeps freed memory", "jemalloc": "", "tcmalloc": ""}
NEAR_GPU = "gpu"
AFFINITIES = ("none", "compact", NEAR_GPU)
LEVELS = ("disabled", "basic", "extended", "layout", "all")
THROUGHPUT = "throughput"
OBJECTIVES = {
    "latency": "least time per call",
    THROUGHPUT: "most items per second, over several batch sizes if they are given",
    "memory": "least peak memory",
    "p99": "least 99th percentile of the time per call",
}
VIEWS = {"calls": "in order", "leaves": "by module", "tree": "", "types": "", "root": ""}

TASKS = {
    "seq2seq": "the next token of a decoder, given an encoder's input",
    "masked_lm": "15 % of the tokens",
    "causal_lm": "the next token",
    "classification": "one of `num_classes`",
    "features": "nothing: the model without a head",
}

PROFILE = "profile"
TOKENS = 128  # of a sequence
ROUNDS = 6  # of a case; the fewest that support a 95 % CI
MARGIN = 0.01  # the share by which a ratio of times may differ from 1 and still count as the same

EXPORTED = (".onnx", ".xml", ".pt2", ".pt", ".pth", ".torchscript")
SOURCES = {".py": "own", **dict.fromkeys(EXPORTED, "exported")}
"""For each suffix of files that define models, the module of `workloads/` that builds them."""

NAMES_OF_TORCH = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
"""Torch's names of precisions, which are accepted too."""

OF_PROFILE = {"mode.name": (PROFILE,)}
OF_FILES = {"model.source": tuple(dict.fromkeys(SOURCES.values()))}
OF_OWN = {"model.source": ("own",)}
OF_EXPORTED = {"model.source": ("exported",)}
OF_TORCHSCRIPT = {"engine.name": ("torchscript", "libtorch")}
OF_COMPILE = {"engine.name": ("compile",)}
OF_INDUCTOR = {"engine.name": ("compile", "export")}
OF_TRANSFORMERS = {"model.source": ("transformers",)}
OF_ONNXRUNTIME = {"engine.name": ("onnxruntime",)}
OF_CUDA = {"device.name": ("cuda",)}

EVENTS = "events"
SYNCS = {
    EVENTS: "the stream's time, with steps set ahead of the GPU",
    "step": "the host's time, waiting for the GPU before and after each step",
    "phase": "likewise, after each phase",
    "none": "the host's time to launch the work",
    "device": "the GPU's time alone, and the host's beside it",
}

work = partial(option, role=Role.WORK)
configuration = partial(option, role=Role.CONFIGURATION)
measuring = partial(option, role=Role.MEASURING)
timed = partial(option, role=Role.MEASURING, is_timing=True)
presentation = partial(option, role=Role.PRESENTATION)
of_the_run = partial(option, role=Role.MEASURING, scope=Scope.RUN)


def _is_shape(sizes: list[int]) -> bool:
    return all(size >= 1 for size in sizes)


def _is_batch(size: int) -> bool:
    return size >= 1


def _are_inputs(inputs: Any) -> bool:
    return inputs is None or (isinstance(inputs, (list, dict)) and bool(inputs))


def _is_affinity(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(type(cpu) is int and cpu >= 0 for cpu in value)
    return value in AFFINITIES


def _are_variables(variables: dict[str, str]) -> bool:
    return all(name and "=" not in name and "\0" not in name + value for name, value in variables.items())


@dataclass
class ModelConfig:
    """What is computed."""

    source: str = work(MISSING, "the module of `workloads/` that builds it", ANY)
    name: str = work(
        "",
        "its name in tables; with model=layer, the class's own name",
        ANY,
        axis="model",
        is_titled=True,
        unless=("model.code", "model.identity"),
    )
    cls: str | None = work(
        None, "for a layer, the dotted name of an `nn.Module` or of a function of tensors", ANY
    )
    args: list[Any] = work(list, "positional arguments of the constructor", ANY)
    kwargs: dict[str, Any] = work(
        dict, "keyword arguments of the constructor, or of the call where `cls` is a function", ANY
    )
    call_kwargs: dict[str, Any] = work(dict, "keyword arguments of the call", ANY)
    input_shape: list[int] = work(
        MISSING,
        "shape of one input, without the batch",
        Rule(_is_shape, "a list of sizes of at least 1"),
        axis="input_shape",
        after="batch_size",
        joined="x",
    )
    input_count: int = work(1, "number of inputs of a call, all of `input_shape`", at_least=1)
    input_shared: bool = work(False, "give one tensor as all inputs (self-attention), instead of one each")
    input_dtype: str = work(
        "float32", "a floating-point type, or an integer type for indices drawn from [0, `input_high`)", ANY
    )
    input_high: int | None = work(None, "exclusive upper bound of index inputs, which require it", at_least=1)
    input_grad: bool | None = work(
        None,
        "the input requires a gradient in training (never one of indices)",
        ANY,
        null="true if no parameter of the layer does",
    )
    identity: str | None = work(
        None,
        "of a module object from Python: the digest of its structure, inputs and objective",
        ANY,
        of={"model.source": ("given",)},
    )
    num_classes: int = work(1000, "width of a classifier's output", at_least=1)
    aux_weight: float = work(0.0, "weight of each auxiliary classifier's loss in the training loss", ANY)
    config_class: str | None = work(
        None, "the class of transformers' configurations, such as `BertConfig`", ANY, of=OF_TRANSFORMERS
    )
    config: dict[str, Any] = work(
        dict, "values of that configuration, such as `num_hidden_layers`", ANY, of=OF_TRANSFORMERS
    )
    task: str | None = work(
        None,
        "what the model predicts, which is its head and its loss",
        TASKS,
        null="the first of these that it has",
        of=OF_TRANSFORMERS,
    )
    seq_len: int | None = work(
        None, "tokens of a sequence", at_least=1, null=str(TOKENS), axis="seq_len", of=OF_TRANSFORMERS
    )
    part: str | None = work(
        None,
        "a submodule's dotted name, followed by `:1` for its second call",
        ANY,
        null="the whole model",
        axis="part",
        after="model",
        is_titled=True,
    )
    file: str | None = measuring(
        None,
        "your own model: `mine.py:make`, a function or class in a Python file that makes the module; or an "
        "exported file: .onnx, .xml, .pt2, .pt",
        ANY,
        null="none",
        of=OF_FILES,
        elsewhere="leave out model=",
        is_resolved=True,
        is_titled=True,
    )
    code: str | None = work(
        None, "digest of `file`'s contents, found by itself", ANY, null="no file", of=OF_FILES
    )
    target: str | None = work(
        None,
        "your own model in a package: `package.module:make`",
        ANY,
        null="none",
        of=OF_OWN,
        elsewhere="leave out model=",
        is_titled=True,
    )
    trust: bool = measuring(
        False, "load `file` even if that can run code from it: a .pt2, or a pickled module", of=OF_EXPORTED
    )
    inputs: Any = work(
        None,
        "the module's arguments, each without the batch: by name, such as "
        "`{ids: {shape: [128], dtype: int64, high: 1000}}`, or a list",
        Rule(_are_inputs, "a dictionary or a list that describes each argument, or null"),
        null="one tensor of `input_shape`, or what an exported file says",
        of=OF_FILES,
        is_nested=True,
    )
    objective: str | None = work(
        None,
        "what training starts from: `ones`, `cross_entropy`, `mse`, `own_loss`, or a function in your file",
        ANY,
        null="ones: an all-ones gradient of the output",
        of=OF_OWN,
    )


@dataclass
class DeviceConfig:
    """Where it runs."""

    name: str = configuration(
        MISSING, "the module of `devices/`", ANY, axis="device", is_resolved=True, is_titled=True
    )
    mkldnn: bool = configuration(True, "let torch use oneDNN on the CPU")
    sync: str | None = configuration(
        None,
        "what is timed, and when the host waits for the GPU",
        SYNCS,
        null="`experiment.sync` of the preset, or events",
        of=OF_CUDA,
        is_resolved=True,
    )
    cuda_graph: bool = configuration(
        False, "launch a call, or a whole training step, as one CUDA graph", of=OF_CUDA
    )
    cudnn_benchmark: bool = configuration(
        False, "let cuDNN try its algorithms and take the fastest", of=OF_CUDA, axis="cudnn_benchmark"
    )
    deterministic: bool = configuration(
        False, "use only deterministic algorithms", of=OF_CUDA, axis="deterministic"
    )
    index: int | None = configuration(
        None,
        "which GPU, as `nvidia-smi` numbers them, or CUDA_VISIBLE_DEVICES lists them; also: device=cuda:1",
        at_least=0,
        null="the first",
        of=OF_CUDA,
        axis="device_index",
        after="device",
    )

    @property
    def label(self) -> str:
        """Its name, with its number if one is given: `cuda:1`."""
        return self.name if self.index is None else f"{self.name}:{self.index}"


@dataclass
class ModeConfig:
    """Which experiment."""

    name: str = work(
        MISSING,
        "the module of `modes/`, or `layers`: one case per layer of the model",
        ANY,
        axis="mode",
        is_titled=True,
    )
    each: str = work(
        "train", "measure each layer in this mode", ("train", "infer"), of={"mode.name": ("layers",)}
    )
    grad: bool = work(
        False,
        "keep autograd on, as code without `torch.no_grad()` does; the memory for a backward pass counts",
        of={"mode.name": ("infer",)},
        axis="grad",
    )
    training: bool = work(
        False, "profile a training step's forward pass, and count the backward pass's FLOPs", of=OF_PROFILE
    )


@dataclass
class EngineConfig:
    """How it is executed."""

    name: str = configuration(MISSING, "the module of `engines/`", ANY, axis="engine", is_titled=True)
    freeze: bool = configuration(False, "make parameters constants", of=OF_TORCHSCRIPT)
    optimize: bool = configuration(False, "freeze, and fuse for inference", of=OF_TORCHSCRIPT)
    backend: str = configuration("inductor", "the backend that compiles", ANY, of=OF_COMPILE)
    mode: str = configuration(
        "default",
        "torch.compile's mode",
        ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
        of=OF_COMPILE,
    )
    freezing: bool = configuration(False, "make parameters constants", of=OF_INDUCTOR)
    dynamic: bool | None = configuration(
        None, "compile for any batch size", ANY, null="torch's own choice", of=OF_COMPILE
    )
    cpp_wrapper: bool = configuration(False, "call the kernels from C++", of=OF_COMPILE)
    cache: str = configuration(
        "warm",
        "the compiler's caches",
        {"warm": "reuse compiled code", "cold": "compile again"},
        of=OF_INDUCTOR,
    )
    level: str = configuration("all", "level of the graph's optimization", LEVELS, of=OF_ONNXRUNTIME)
    copies: bool = configuration(False, "include copies of inputs and outputs in the time", of=OF_ONNXRUNTIME)


@dataclass
class PrecisionConfig:
    """In which number format."""

    name: str = configuration(MISSING, "its name in tables", ANY, axis="precision")
    cast: str | None = configuration(None, "type that parameters and inputs are cast to", ANY, null="none")
    autocast: str | None = configuration(None, "type that torch.autocast computes in", ANY, null="none")
    tolerance: float = configuration(
        1e-4,
        "largest error of an output against eager fp32's, relative to the largest output",
        above=0,
        unit="share",
    )
    gradient_tolerance: float = configuration(
        1e-3, "largest error of one step's gradients, relative to their norm", above=0, unit="share"
    )


@dataclass
class OptimizerConfig:
    """How the update phase updates."""

    name: str = work(MISSING, "its name in tables", ANY, axis="optimizer")
    cls: str = work(MISSING, "a class of `torch.optim`", ANY)
    lr: float = work(MISSING, "learning rate", at_least=0)
    kwargs: dict[str, Any] = work(dict, "other arguments of the class", ANY)


@dataclass
class MeasureConfig:
    """How precisely it is measured."""

    budget: float | None = timed(
        30.0,
        "time that a case should take in all, start-up and warm-up included",
        above=0,
        unit="seconds",
        null="no limit",
        scope=Scope.CASE,
    )
    rounds: int | None = timed(
        None,
        "fresh processes that each measure the case; the interval is over them",
        at_least=1,
        null="six, the fewest with a 95 % CI, or fewer if the budget does not allow them",
        scope=Scope.CASE,
    )
    share_server: bool = timed(
        True, "fork the processes of all rounds from one server; false starts one for each round"
    )
    rel_ci: float = timed(
        0.05,
        "stop a round once its median's 95 % CI is within ± this",
        above=0,
        below=1,
        unit="share",
    )
    percentile: float | None = timed(
        None,
        "the percentile that `rel_ci` is about, such as 99; each sample is then one call",
        above=0,
        below=100,
        null="the median",
    )
    min_time: float = timed(0.1, "shortest time spent sampling", at_least=0, unit="seconds")
    max_time: float = timed(
        5.0, "longest time spent sampling, unless `min_samples` takes longer", above=0, unit="seconds"
    )
    min_samples: int = timed(
        6, "fewest samples before `rel_ci` may stop; below 3, before `max_time` may too", at_least=1
    )
    max_samples: int = timed(10_000, "most samples", at_least=1)
    min_sample: float = timed(
        100e-6,
        "shortest sample of inference; shorter calls are repeated within a sample",
        at_least=0,
        unit="seconds",
    )
    max_warmup: float = timed(5.0, "longest warm-up", at_least=0, unit="seconds")
    energy: bool = timed(
        True, "on a GPU, also measure the energy of a call in the first round, which takes 3 to 7 s"
    )
    cold_cache: bool = configuration(
        False, "evict the caches before each sample", axis="cold_cache", after="flush_denormal"
    )


@dataclass
class ExperimentConfig:
    """The options that describe a preset."""

    name: str | None = of_the_run(None, "the preset's name", ANY, null="no preset")
    reference: str | None = of_the_run(None, "published table to compare the results with", ANY, null="none")
    sync: str | None = of_the_run(
        None, "`device.sync` of cases on CUDA, as the table was measured", SYNCS, null="events"
    )
    ways: list[list[str]] = of_the_run(
        list,
        "configurations that are not a product of axes, each a list of overrides; a sweep is the product of "
        "its axes with these",
        ANY,
    )
    search: bool = of_the_run(
        False,
        "search for the fastest configuration: drop slow ones early, and give more rounds to the leaders",
    )
    budget: float = of_the_run(150.0, "time limit of a search", above=0, unit="seconds")


@dataclass
class EnergyConfig:
    """The energy per operation that a profile's estimate assumes; sources: docs/profile.md."""

    multiply: float | None = measuring(
        None,
        "energy of a multiply-accumulate",
        at_least=0,
        unit="pJ",
        null="the number format's own (fp32: 4.5)",
        of=OF_PROFILE,
    )
    on_chip: float = measuring(
        5.0, "energy of an access to 32 bits in a cache", at_least=0, unit="pJ", of=OF_PROFILE
    )
    dram: float = measuring(
        640.0, "energy of an access to 32 bits in memory", at_least=0, unit="pJ", of=OF_PROFILE
    )
    hit_rate: float = measuring(
        0.8, "memory accesses that hit a cache", at_least=0, at_most=1, unit="share", of=OF_PROFILE
    )


@dataclass
class Config:
    """One case, fully resolved."""

    model: ModelConfig = group(ModelConfig, "what is computed", in_files=True)
    mode: ModeConfig = group(ModeConfig, "which experiment")
    device: DeviceConfig = group(DeviceConfig, "where")
    engine: EngineConfig = group(EngineConfig, "how it is executed")
    precision: PrecisionConfig = group(PrecisionConfig, "in which number format", in_files=True)
    optimizer: OptimizerConfig = group(OptimizerConfig, "how the update phase updates", in_files=True)
    measure: MeasureConfig = group(MeasureConfig, "how precisely")
    layout: str = configuration("contiguous", "how tensors lie in memory", LAYOUTS, axis="layout")
    cache_weights: bool = configuration(
        True,
        "repack weights once instead of in each call",
        axis="cache_weights",
        of={"layout": ("mkldnn",)},
    )
    batch_size: int = work(
        8,
        "items per batch; max is the most that fit in memory",
        Rule(_is_batch, "an integer of at least 1, or max"),
        axis="batch_size",
        is_titled=True,
    )
    max_batch: bool = measuring(
        False,
        "raise `batch_size` to the most items that fit in memory, as batch_size=max does",
        axis="max_batch",
    )
    threads: int | None = configuration(
        None,
        "threads per operation",
        at_least=1,
        null="the physical cores this process may use",
        axis="threads",
        is_resolved=True,
        follows="affinity",
    )
    interop_threads: int | None = configuration(
        None,
        "threads that run operations concurrently",
        at_least=1,
        null="torch's default",
        axis="interop_threads",
    )
    affinity: Any = configuration(
        "none",
        "CPUs to run on: none (all), compact (as many cores as threads), gpu (those near the GPU), or a list "
        "such as [0,1]",
        Rule(_is_affinity, f"{', '.join(AFFINITIES)}, or a list of CPUs such as [0,1]"),
        axis="affinity",
    )
    allocator: str = configuration("system", "allocator of host memory", ALLOCATORS, axis="allocator")
    env_set: dict[str, str] = configuration(
        dict,
        "environment variables of the measuring process, such as env_set.OMP_PROC_BIND=true",
        Rule(_are_variables, "names of environment variables with their values"),
    )
    flush_denormal: bool = configuration(False, "treat denormal numbers as zero", axis="flush_denormal")
    seed: int = work(0, "seed of the random weights and inputs", at_least=0, axis="seed")
    isolation: str = timed(
        "fork",
        "where a round runs",
        {
            "fork": "in a process forked from one that has imported torch",
            "spawn": "in a new interpreter",
            "inline": "in this process",
        },
        axis="isolation",
    )
    verify: bool = measuring(
        True, "check the answer against eager fp32's; the times of a wrong answer do not count", axis="verify"
    )
    tolerance: float | None = measuring(
        None,
        "largest error of the answer, relative to the largest output (also: max_error)",
        above=0,
        unit="share",
        null="what the precision's rounding explains",
        also="max_error",
    )
    timeout: float | None = measuring(
        1800.0, "time limit of a round", above=0, unit="seconds", null="no limit", scope=Scope.CASE
    )
    schedule: str | None = of_the_run(
        None,
        "order of the rounds",
        {
            "interleaved": "all cases in turn",
            "adaptive": "likewise, without further rounds of configurations that are certainly slower",
            "sequential": "case by case",
        },
        null="adaptive if configurations are ranked and measure.rounds is not given, else interleaved",
    )
    schedule_seed: int | None = of_the_run(
        None, "seed of that order", at_least=0, null="a new one, which is recorded"
    )
    objective: str = of_the_run(
        "latency",
        "what a search (+experiment=fastest) looks for",
        OBJECTIVES,
        of={"experiment.search": (True,)},
        elsewhere="add +experiment=fastest",
    )
    resume: str | None = of_the_run(
        None,
        "folder of a run to complete; alone, it repeats the command that began it",
        FOLDER,
        null="a new run",
    )
    experiment: ExperimentConfig = group(ExperimentConfig, "the preset's own options", in_files=True)
    view: str = presentation("calls", "how calls are grouped", VIEWS, of=OF_PROFILE)
    columns: list[str] = presentation(
        list,
        "columns to show, such as [name,type,flops,lat]; [~mem_r] hides one; [all] shows all",
        ANY,
        of=OF_PROFILE,
        elsewhere="--tails shows the percentiles of its phases",
    )
    depth: int | None = presentation(
        None,
        "depth of the tree",
        at_least=0,
        null="the whole tree",
        of={**OF_PROFILE, "view": ("tree",)},
    )
    functions: bool = presentation(
        True, "also show torch's operators outside the leaf modules", of=OF_PROFILE
    )
    timing: bool = work(
        True,
        "time the calls; false for a dry run, which takes seconds and no memory for weights",
        of=OF_PROFILE,
    )
    memory: bool = work(True, "track the memory that calls allocate", of=OF_PROFILE)
    trace: bool = measuring(
        False, "also write a trace, to open in Perfetto or chrome://tracing", of=OF_PROFILE
    )
    energy: EnergyConfig = group(EnergyConfig, "assumptions of a profile's energy estimate")


OPTIONS = options_of(Config)
"""Every option, by its dotted key."""

AXES = axes_in(Config)
"""The options that are axes of a record, by the axis' name."""

PLAIN = {"engine": "eager", "precision": "fp32", "layout": "contiguous", "cache_weights": True}
"""The configuration of plain eager, which answers are checked against and a search compares with."""


REFERENCES = {
    ".onnx": ("unoptimized onnxruntime", {"name": "onnxruntime", "level": "disabled"}),
    ".xml": ("openvino fp32", {"name": "openvino"}),
}
"""For each suffix of files that torch does not run: the engine of their reference answer, and its options."""


def reference_name(model: ModelConfig) -> str:
    """Return what the answers of a workload are checked against: eager fp32, or a file's own engine."""
    return REFERENCES[suffix][0] if (suffix := _suffix(model)) in REFERENCES else "eager fp32"


def _suffix(model: ModelConfig) -> str:
    return PurePath(model.file or "").suffix


def plain(config: Config) -> Config:
    """Return the configuration of plain eager for the same work, or of the engine in `REFERENCES`."""
    _, engine = REFERENCES.get(_suffix(config.model), ("", {"name": PLAIN["engine"]}))
    changes = {name: value for name, value in PLAIN.items() if name not in ("engine", "precision")}
    return replace(
        config,
        device=replace(
            config.device, mkldnn=True, cuda_graph=False, cudnn_benchmark=False, deterministic=False
        ),
        engine=EngineConfig(**engine),
        precision=PrecisionConfig(str(PLAIN["precision"])),
        **changes,  # type: ignore[arg-type]
    )


@cache
def option_at(name: str) -> Option:
    """Return the option of that name: its axis, its key, or a key within its dictionary."""
    if name in AXES:
        return AXES[name]
    while name not in OPTIONS:
        name, dot, _ = name.rpartition(".")
        if not dot:
            raise KeyError(name)
    return OPTIONS[name]


def validate(config: Config) -> None:
    """Reject values that no run could use.

    Raises:
        UserError: the first such value, and what is allowed instead.
    """
    check(config)
    if config.model.source == "layer" and not config.model.cls:
        raise UserError("model.cls must be given, for example model.cls=torch.nn.GELU.")
    if config.mode.name == "layers":
        _check_layers(config)
    if config.model.source == "exported":
        _check_exported(config)
    if config.mode.name == PROFILE:
        _check_profile(config)
    if config.max_batch:
        _check_max_batch(config)
    if config.device.cuda_graph and config.mode.grad:
        raise UserError(
            "mode.grad=true is not possible with device.cuda_graph=true: a graph of inference is captured "
            "without autograd; leave out one of them."
        )
    if config.isolation == "inline" and config.env_set:
        raise UserError(
            f"isolation=inline runs in this process; set {next(iter(config.env_set))} in the shell, not with "
            "env_set."
        )
    if config.isolation == "inline" and config.device.index is not None:
        raise UserError(
            f"isolation=inline runs in this process; set CUDA_VISIBLE_DEVICES={config.device.index} in the "
            f"shell, not device={config.device.label}."
        )
    if config.isolation == "inline" and (config.measure.rounds or 1) > 1:
        raise UserError(
            f"isolation=inline runs in one process; set measure.rounds=1 (got {config.measure.rounds})."
        )


def _check_max_batch(config: Config) -> None:
    reasons = {
        "isolation=inline runs in this process, which running out of memory may end": config.isolation
        == "inline",
        "a search is for one work": config.experiment.search,
        "mode=layers measures a model and its layers": config.mode.name == "layers",
        "a dry run (timing=false) needs no memory": not config.timing,
        "the inputs of a module object have their batch": config.model.source == "given",
    }
    if reason := next((why for why, holds in reasons.items() if holds), None):
        raise UserError(f"batch_size=max is not possible: {reason}; give a number.")


def _check_layers(config: Config) -> None:
    if config.model.part is not None:
        raise UserError(
            "mode=layers measures every layer of the whole model; leave out "
            f"model.part={config.model.part}, or give mode={config.mode.each} to measure that part alone."
        )
    if config.experiment.search:
        raise UserError("A search is for one workload, and mode=layers has many; give mode=train or infer.")


def _check_exported(config: Config) -> None:
    given = "mode=layers" if config.mode.name == "layers" else f"model.part={config.model.part}"
    if config.mode.name == "layers" or config.model.part is not None:
        raise UserError(
            f"{given} is for modules within a module, and {config.model.file} holds one graph: leave it out."
        )
    engine = plain(config).engine.name
    if config.experiment.search and engine != PLAIN["engine"]:
        raise UserError(
            f"A search compares with plain eager, which does not run {config.model.file}: sweep, as by "
            f"-m engine={engine} precision=fp32,int8."
        )


def _check_profile(config: Config) -> None:
    if config.experiment.search:
        raise UserError(
            "A search compares configurations by one time, and mode=profile measures many; give mode=infer."
        )
    if config.measure.percentile is not None:
        raise UserError(
            f"measure.percentile={config.measure.percentile:g} is for samples of one call, and those of "
            "mode=profile are of several; to measure a layer alone, give model.part=NAME mode=infer."
        )
    if config.measure.cold_cache:
        raise UserError(
            "measure.cold_cache=true evicts the caches before each sample, and a sample of mode=profile is "
            "several calls; to measure a layer alone, give model.part=NAME mode=infer."
        )
    if config.device.sync not in (None, EVENTS):
        raise UserError(
            f"device.sync={config.device.sync} is not for mode=profile, which times calls by events: to "
            "measure a layer alone, give model.part=NAME mode=infer."
        )
    if config.device.cuda_graph:
        raise UserError(
            "device.cuda_graph=true is not possible in mode=profile: a graph makes no calls of modules."
        )
    if config.trace and not config.timing:
        raise UserError("trace=true needs timing=true: a dry run executes nothing that could be traced.")
