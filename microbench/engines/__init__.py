"""HOW it is executed: one module an engine, each with `prepare(job) -> Program` and what it can do."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol

from torch import Tensor

from microbench import formats, registry
from microbench.config import Config, EngineConfig
from microbench.distribution import install_line
from microbench.errors import SkippedError
from microbench.formats import arithmetic
from microbench.workloads import Workload


@dataclass(frozen=True)
class Job:
    """What an engine is asked for.

    Attributes:
        workload: as it was built: fp32, contiguous, on its device.
        config: the case's configuration, its device and its number of threads resolved.
        training: for a training step, or for inference.
    """

    workload: Workload
    config: Config
    training: bool


@dataclass(frozen=True)
class Facts:
    """How it turned out: `env_*` fields of the records.

    Attributes:
        engine: the library that runs it, with its version.
        arithmetic: what multiplies, such as `avx512_bf16`; None where it is not known.
        conversions: how often a call converts between layouts; None where it need not.
        threads: threads of an operation, where the library has its own; None where they are torch's.
        interop_threads: how many operations it runs side by side, likewise.
    """

    engine: str = "torch"
    arithmetic: str | None = None
    conversions: int | None = None
    threads: int | None = None
    interop_threads: int | None = None


@dataclass(frozen=True)
class Answer:
    """What one call, or one training step, computes: what is compared with eager fp32.

    Attributes:
        outputs: the module's outputs; in training the loss, or a layer's outputs.
        gradients: of the parameters and the inputs that require one, in training.
    """

    outputs: Sequence[Tensor]
    gradients: Sequence[Tensor] = ()


class Loop(Protocol):
    """An engine's own measuring loop, in a process of its own.

    Attributes:
        pid: that process.
    """

    pid: int

    def step(self, calls: int) -> Sequence[int]:
        """One sample: the marks that the mode sets, in nanoseconds of `time.perf_counter_ns`."""
        ...

    def burst(self, calls: int, samples: int) -> Sequence[Sequence[int]]:
        """So many samples without a break."""
        ...

    def answer(self) -> Answer:
        """What one untimed call, or a step from the first weights, computes."""
        ...

    def peak_memory(self) -> int | None:
        """Bytes over the level before the module was loaded."""
        ...


def _same(output: Any) -> Any:
    return output


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Program:
    """A workload made ready to run.

    Attributes:
        workload: as it is run: module, inputs and objective in their precision and layout.
        call: computes the output for the workload's inputs: what is timed.
        parameters: what an optimizer updates.
        outputs: what `call` returned, as torch's tensors; untimed.
        loop: the engine's own loop, which is timed instead of `call`.
        overwrites: the loop's calls change its inputs, which it does not give back.
        facts: how it turned out.
        renewed: makes `call` anew, of the module as it is then; None where `call` follows the module.
        close: frees what outlives a call: processes, sessions, folders.
    """

    workload: Workload
    call: Callable[[], Any]
    parameters: Sequence[Tensor] = ()
    outputs: Callable[[Any], Any] = _same
    loop: Loop | None = None
    overwrites: bool = False
    facts: Facts = field(default_factory=Facts)
    renewed: Callable[[], Callable[[], Any]] | None = None
    close: Callable[[], None] = _nothing


class Engine(Protocol):
    """What a module of this room offers.

    Attributes:
        TRAINS: whether it can train.
        PRECISIONS, LAYOUTS, DEVICES: those it can do.

    One that computes without torch's kernels says `USES_TORCH = False`; one for a device that few have says
    what it takes, in `NEEDS`; one that needs libraries besides torch names their modules, in `LIBRARIES`.
    """

    TRAINS: bool
    PRECISIONS: Sequence[str]
    LAYOUTS: Sequence[str]
    DEVICES: Sequence[str]

    def prepare(self, job: Job) -> Program:
        """Make a workload ready to run."""
        ...


ALL_PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "amp_bf16", "amp_fp16")
ALL_LAYOUTS = ("contiguous", "channels_last", "mkldnn")


def prepare(job: Job) -> Program:
    """Make a workload ready to run by the engine that its configuration names.

    Raises:
        SkippedError: the engine cannot do that, or not here.
    """
    check(job.config, job.training)
    engine: Engine = registry.find("engines", job.config.engine.name)
    return engine.prepare(job)


def check(config: Config, training: bool) -> None:
    """See that the engine of a configuration can do what it asks for; no workload is needed to tell.

    Raises:
        SkippedError: it cannot, and what it can; or its libraries are missing, and what installs them.
    """
    engine: Engine = registry.find("engines", config.engine.name)
    if training and not engine.TRAINS:
        raise SkippedError(
            f"engine={config.engine.name} does not train: use mode=infer, or engine=eager or compile"
        )
    asked: Mapping[str, tuple[str, Sequence[str]]] = {
        "device": (config.device.name, engine.DEVICES),
        "precision": (config.precision.name, engine.PRECISIONS),
        "layout": (config.layout, engine.LAYOUTS),
    }
    for option, (value, able) in asked.items():
        if value not in able:
            text = f"engine={config.engine.name} does not do {option}={value}: it can do {', '.join(able)}"
            needs = getattr(engine, "NEEDS", None) if option == "device" else None
            raise SkippedError(text if needs is None else f"{text}; it needs {needs}")
    if not config.device.mkldnn:
        check_without_onednn(engine, config.engine)
    require(config.engine.name, *getattr(engine, "LIBRARIES", ()))


def check_without_onednn(engine: Engine, config: EngineConfig) -> None:
    """Raise a SkippedError where device.mkldnn=false would do nothing."""
    if not getattr(engine, "USES_TORCH", True):
        raise SkippedError(
            f"engine={config.name} has kernels of its own, which device.mkldnn=false leaves alone"
        )
    for option in ("freezing", "optimize"):
        if getattr(config, option):
            raise SkippedError(
                f"engine.{option}=true makes graphs that call oneDNN, device.mkldnn=false or not"
            )


def require(engine: str, *libraries: str) -> None:
    """Raise a SkippedError with the line that installs an engine's libraries where one of them is missing."""
    missing = [library for library in libraries if find_spec(library) is None]
    if missing:
        raise SkippedError(f"engine={engine} needs {' and '.join(missing)}: {install_line(engine)}")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep a library's warnings, log lines and progress bars to itself; what it raises is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def counted(layers: Mapping[str, int]) -> str:
    """What computes the layers, as text: its name, or where there are several, how many layers each does."""
    ranked = sorted(layers.items(), key=lambda item: -item[1])
    return ranked[0][0] if len(ranked) == 1 else ", ".join(f"{name} {count}" for name, count in ranked)


def dressed(job: Job) -> tuple[Workload, Facts]:
    """A job's workload in its precision and layout, and what is known of how torch computes it.

    Raises:
        SkippedError: it cannot be brought into that form.
    """
    config = job.config
    workload, conversions = formats.dressed(job.workload, config, job.training)
    workload.module.train(job.training)
    multiplies = arithmetic.of(config.precision, config.device.name)
    return workload, Facts(arithmetic=multiplies, conversions=conversions)
