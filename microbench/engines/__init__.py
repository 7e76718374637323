"""HOW it is executed: one module an engine, each with `prepare(job) -> Program` and what it can do."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol

from torch import Tensor

from microbench import devices, formats, registry
from microbench.config import LAYOUTS, Config, EngineConfig
from microbench.devices import MemoryMeter
from microbench.distribution import install_line
from microbench.engines.capture.rehearsal import rehearse
from microbench.errors import SkippedError
from microbench.formats import arithmetic
from microbench.measure.experiment import Experiment
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
class EngineInfo:
    """What runs the module, as it turned out: `env_*` fields of the records.

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


def _identity(output: Any) -> Any:
    return output


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Program:
    """A workload made ready to run. An engine that times itself in another process overrides the methods.

    Attributes:
        workload: as it is run: module, inputs and objective in their precision and layout.
        call: computes the output for the workload's inputs: what is timed.
        parameters: what an optimizer updates.
        outputs: what `call` returned, as torch's tensors; untimed.
        info: how it turned out.
        renewed: makes `call` anew, of the module as it is then; None where `call` follows the module.
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
        """Return what one untimed call, or step, computes: what a mode computes with it, or by itself."""
        return compute(self)

    def peak_memory(self, meter: MemoryMeter) -> int | None:
        """Return the bytes over the level before the module was built, by the device's meter or its own."""
        return meter.peak()

    def rehearse(self, training: bool) -> None:
        """Call it once, untimed, in training with the backward pass, and undo what that changes."""
        rehearse(self.call, self.workload, training)


class Engine(Protocol):
    """What a module of this room offers.

    Attributes:
        TRAINS: whether it can train.

    What it leaves out is as in torch: `PRECISIONS` are those of torch on the device, `LAYOUTS` all, `DEVICES`
    any. One that computes without torch's kernels says `USES_TORCH = False`; one for a device that few have
    says what it takes, in `NEEDS`; one that needs libraries besides torch names their modules, in
    `LIBRARIES`.
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
    check(job.config, job.training)
    engine: Engine = registry.find("engines", job.config.engine.name)
    return engine.prepare(job)


def check(config: Config, training: bool) -> None:
    """See that the engine of a configuration supports what it asks for; no workload is needed to tell.

    Raises:
        SkippedError: it does not, and what it supports; or its libraries are missing, and what installs them.
    """
    name, device = config.engine.name, devices.find(config.device.name)
    engine: Engine = registry.find("engines", name)
    if training and not engine.TRAINS:
        raise SkippedError(f"engine={name} does not train: use mode=infer, or engine=eager or compile")
    if device.name not in (supported := getattr(engine, "DEVICES", (device.name,))):
        needs = f" (needs {engine.NEEDS})" if hasattr(engine, "NEEDS") else ""
        raise unsupported(name, f"device={device.name}", supported, needs)
    if config.precision.name not in (supported := getattr(engine, "PRECISIONS", device.precisions)):
        raise unsupported(name, f"precision={config.precision.name} on device={device.name}", supported)
    if config.layout not in (supported := getattr(engine, "LAYOUTS", LAYOUTS)):
        raise unsupported(name, f"layout={config.layout}", supported)
    if not config.device.mkldnn:
        check_without_onednn(engine, config.engine)
    require(name, *getattr(engine, "LIBRARIES", ()))


def unsupported(engine: str, asked: str, supported: Iterable[str], needs: str = "") -> SkippedError:
    """Return the error that says what an engine supports instead of what it was asked for."""
    able = ", ".join(supported)
    return SkippedError(f"engine={engine} does not support {asked}; it supports {able}{needs}")


def check_without_onednn(engine: Engine, config: EngineConfig) -> None:
    """Raise a SkippedError where device.mkldnn=false would do nothing."""
    if not getattr(engine, "USES_TORCH", True):
        raise SkippedError(
            f"engine={config.name} has its own kernels, which device.mkldnn=false does not affect"
        )
    for option in ("freezing", "optimize"):
        if getattr(config, option):
            raise SkippedError(
                f"engine.{option}=true makes graphs that call oneDNN even with device.mkldnn=false"
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


def counts_as_text(layers: Mapping[str, int]) -> str:
    """Return what computes the layers: its name, or where there are several, how many layers each does."""
    ranked = sorted(layers.items(), key=lambda item: -item[1])
    return ranked[0][0] if len(ranked) == 1 else ", ".join(f"{name} {count}" for name, count in ranked)


def in_format(job: Job) -> tuple[Workload, EngineInfo]:
    """Return a job's workload in its precision and layout, and what is known of how torch computes it.

    Raises:
        SkippedError: it cannot be brought into that form.
    """
    config = job.config
    workload, conversions = formats.in_format(job.workload, config, job.training)
    workload.module.train(job.training)
    multiplies = arithmetic.of(config.precision, workload.device_type)
    return workload, EngineInfo(arithmetic=multiplies, conversions=conversions)
