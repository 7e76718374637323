"""HOW it is executed: one module per engine, each with `prepare(job) -> Program` and what it supports."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from microbench import devices, formats, registry
from microbench.config import LAYOUTS, Config, EngineConfig, ModelConfig
from microbench.devices import Device, MemoryMeter
from microbench.distribution import install_line
from microbench.engines.capture.rehearsal import rehearse
from microbench.errors import SkippedError
from microbench.formats import arithmetic
from microbench.measure.experiment import Experiment
from microbench.workloads import Workload, exported


@dataclass(frozen=True)
class Job:
    """The work that an engine prepares.

    Attributes:
        workload: as it was built: fp32, contiguous, on its device.
        config: the case's configuration, its device and its number of threads resolved.
        training: whether for a training step; otherwise for inference.
    """

    workload: Workload
    config: Config
    training: bool


@dataclass(frozen=True)
class EngineInfo:
    """What runs the module, as it turned out: `env_*` fields of the records.

    Attributes:
        engine: the library that runs it, with its version.
        arithmetic: the instructions that multiply, such as `avx512_bf16`; None if unknown.
        conversions: layout conversions per call; None if none are needed.
        threads: threads per operation, if the library has its own; None if they are torch's.
        interop_threads: operations that run concurrently, likewise.
    """

    engine: str = "torch"
    arithmetic: str | None = None
    conversions: int | None = None
    threads: int | None = None
    interop_threads: int | None = None


@dataclass(frozen=True)
class Answer:
    """The result of one call or training step, which is compared with eager fp32's.

    Attributes:
        outputs: the module's outputs; in training the loss, or a layer's outputs.
        gradients: of the parameters and the inputs that require one, in training.
    """

    outputs: Sequence[Tensor]
    gradients: Sequence[Tensor] = ()


def _identity(output: Any) -> Any:
    return output


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Program:
    """A workload made ready to run. An engine that times itself in another process overrides the methods.

    Attributes:
        workload: as it is run: module, inputs and objective in their precision and layout.
        call: computes the output for the workload's inputs; this is what is timed.
        parameters: what an optimizer updates.
        outputs: what `call` returned, as torch's tensors; untimed.
        info: how it turned out.
        renewed: makes `call` again from the module's current state; None if `call` follows the module.
        close: frees what outlives a call: processes, sessions, folders.
        pid: the process that computes; None for this one.
        overwrites: each call changes inputs that cannot be given back to it.
    """

    workload: Workload
    call: Callable[[], Any]
    parameters: Sequence[Tensor] = ()
    outputs: Callable[[Any], Any] = _identity
    info: EngineInfo = field(default_factory=EngineInfo)
    renewed: Callable[[], Callable[[], Any]] | None = None
    close: Callable[[], None] = _nothing
    pid: int | None = None
    overwrites: bool = False

    def timed(self, experiment: Experiment) -> Experiment:
        """Return a mode's experiment as it is sampled: with the mode's step, or with a loop of its own."""
        return experiment

    def answer(self, compute: Callable[[Program], Answer]) -> Answer:
        """Return the answer of one untimed call or step: computed by the mode, or by the engine itself."""
        return compute(self)

    def peak_memory(self, meter: MemoryMeter) -> int | None:
        """Return the peak in bytes above the level before the module was built."""
        return meter.peak()

    def rehearse(self, training: bool) -> None:
        """Call it once, untimed, in training with the backward pass, and undo what that changes."""
        rehearse(self.call, self.workload, training)


class Engine(Protocol):
    """The interface of an engine's module.

    Attributes:
        TRAINS: whether it can train.

    Optional attributes default to what torch supports: `PRECISIONS` to torch's on the device, `LAYOUTS` to
    all, `DEVICES` to any. `USES_TORCH = False` means that it computes without torch's kernels, in memory that
    it allocates itself; `OWN_PROCESS = True`, that it computes in another process; `KEEPS_GRAPH = False`,
    that it trains, but has autograd off in inference; `NEEDS` names uncommon hardware that it requires;
    `LIBRARIES` lists the modules of the libraries that it needs besides torch; `FILES` lists the formats of
    exported files that it runs, if torch makes no module of them; `IN_GRAPHS = True` means that a device can
    capture its calls (device.cuda_graph).
    """

    TRAINS: bool

    def prepare(self, job: Job) -> Program:
        """Make a workload ready to run."""
        ...


def prepare(job: Job) -> Program:
    """Make a workload ready to run by the engine that its configuration names.

    Raises:
        SkippedError: the engine cannot do that, or not here.
    """
    program = engine_of(job.config, job.training).prepare(job)
    if not job.config.device.cuda_graph or job.training:  # the mode captures a training step
        return program
    device = devices.find(job.config.device.name)
    with torch.inference_mode():
        return replace(program, call=device.captured(lambda mark: program.call()))


def engine_of(config: Config, training: bool) -> Engine:
    """Return a configuration's engine, which supports it; this needs no workload.

    Raises:
        SkippedError: it does not, or its libraries are missing; says what is supported or how to install.
    """
    name, device = config.engine.name, devices.find(config.device.name)
    engine: Engine = registry.find("engines", name)
    if config.model.source == exported.NAME:
        check_file(name, engine, config.model, training)
    if training and not engine.TRAINS:
        raise SkippedError(f"engine={name} does not train: use mode=infer, or engine=eager or compile")
    if device.name not in (supported := getattr(engine, "DEVICES", (device.name,))):
        needs = f" (needs {engine.NEEDS})" if hasattr(engine, "NEEDS") else ""
        raise unsupported(name, f"device={device.name}", supported, needs)
    if config.precision.name not in (supported := getattr(engine, "PRECISIONS", device.precisions)):
        raise unsupported(name, f"precision={config.precision.name} on device={device.name}", supported)
    if config.layout not in (supported := getattr(engine, "LAYOUTS", LAYOUTS)):
        raise unsupported(name, f"layout={config.layout}", supported)
    if config.device.cuda_graph and not getattr(engine, "IN_GRAPHS", False):
        raise SkippedError(
            f"engine={name} does not support device.cuda_graph=true: use engine=eager or torchscript, or "
            "engine=compile engine.mode=reduce-overhead, which makes CUDA graphs itself"
        )
    if config.mode.grad:
        check_grad(engine, config.engine)
    if not config.device.mkldnn:
        check_without_onednn(engine, config.engine)
    require(name, *getattr(engine, "LIBRARIES", ()))
    return engine


def device_of(name: str, usable: Sequence[Device]) -> Device:
    """Return the first of some devices that an engine runs on; the first, if it runs on none of them."""
    try:
        able = getattr(registry.find("engines", name), "DEVICES", None)
    except Exception:  # its cases report it
        able = None
    return next((each for each in usable if able is None or each.name in able), usable[0])


def check_file(name: str, engine: Engine, model: ModelConfig, training: bool) -> None:
    """Raise a SkippedError if an engine does not run an exported file, or not in this mode."""
    file, format_ = Path(str(model.file)).name, exported.format_of(model)
    if training:
        raise SkippedError(f"{file} is for inference, as every exported file: use mode=infer")
    if format_ is not None and format_ not in getattr(engine, "FILES", ()):
        every = ((each, registry.find("engines", each)) for each in registry.names("engines"))
        able = sorted(each for each, other in every if format_ in getattr(other, "FILES", ()))
        raise SkippedError(
            f"{file} is a file of {format_}, which engine={name} does not run: use engine={', '.join(able)}"
        )


def unsupported(engine: str, asked: str, supported: Iterable[str], needs: str = "") -> SkippedError:
    """Return the error that says what an engine supports instead of `asked`."""
    able = ", ".join(supported)
    return SkippedError(f"engine={engine} does not support {asked}; it supports {able}{needs}")


def check_without_onednn(engine: Engine, config: EngineConfig) -> None:
    """Raise a SkippedError if device.mkldnn=false would have no effect."""
    if not getattr(engine, "USES_TORCH", True):
        raise SkippedError(
            f"engine={config.name} has its own kernels, which device.mkldnn=false does not affect"
        )
    for option in ("freezing", "optimize"):
        if getattr(config, option):
            raise SkippedError(
                f"engine.{option}=true makes graphs that call oneDNN even with device.mkldnn=false"
            )


def check_grad(engine: Engine, config: EngineConfig) -> None:
    """Raise a SkippedError if an engine keeps nothing for a backward pass in inference."""
    if not engine.TRAINS or not getattr(engine, "KEEPS_GRAPH", True):
        raise SkippedError(
            f"engine={config.name} keeps nothing for a backward pass in inference: use mode.grad=false, or "
            "engine=eager, torchscript or compile"
        )
    for option in ("freeze", "freezing", "optimize"):
        if getattr(config, option):
            raise SkippedError(
                f"engine.{option}=true makes the parameters constants, so that nothing is kept for a "
                "backward pass: use mode.grad=false"
            )


def require(engine: str, *libraries: str) -> None:
    """Raise a SkippedError with the install command if one of an engine's libraries is missing."""
    missing = [library for library in libraries if find_spec(library) is None]
    if missing:
        raise SkippedError(f"engine={engine} needs {' and '.join(missing)}: {install_line(engine)}")


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress a library's warnings, log lines and progress bars, but not its exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def counts_as_text(layers: Mapping[str, int]) -> str:
    """Return the names of what computes the layers; if there are several, each with its number of layers."""
    ranked = sorted(layers.items(), key=lambda item: -item[1])
    return ranked[0][0] if len(ranked) == 1 else ", ".join(f"{name} {count}" for name, count in ranked)


def in_format(job: Job) -> tuple[Workload, EngineInfo]:
    """Return a job's workload in its precision and layout, and how torch computes it.

    Raises:
        SkippedError: it cannot be converted.
    """
    config = job.config
    workload, conversions = formats.in_format(job.workload, config, job.training)
    workload.module.train(job.training)
    multiplies = arithmetic.of(config.precision, workload.device_type)
    return workload, EngineInfo(arithmetic=multiplies, conversions=conversions)
