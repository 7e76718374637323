"""The program's measuring loop, as the modes and the sampler see it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from microbench.devices import Device, MemoryMeter
from microbench.engines import Answer, Program
from microbench.engines.libtorch import traced
from microbench.engines.libtorch.process import Process, ProgramError
from microbench.errors import SkippedError
from microbench.measure.experiment import Experiment
from microbench.workloads import Workload

UNKNOWN = "Unknown builtin op: "  # how LibTorch's error for a missing operation begins


@dataclass(frozen=True, kw_only=True)
class LoopProgram(Program):
    """A workload that another process runs and times.

    Attributes:
        loop: that process's measuring loop.
    """

    loop: ProgramLoop

    def timed(self, experiment: Experiment) -> Experiment:
        """Let the loop take the samples. It evicts caches itself, on the threads that it computes with."""
        step, burst = self.loop.step, self.loop.burst
        return replace(
            experiment, step=lambda mark, calls: step(calls), burst=burst, seconds=seconds, before=None
        )

    def answer(self, compute: Callable[[Program], Answer]) -> Answer:
        """Return the other process's answer."""
        return self.loop.answer()

    def peak_memory(self, meter: MemoryMeter) -> int | None:
        """Return the peak in bytes above the other process's level before it loaded the module."""
        return self.loop.peak_memory()

    def rehearse(self, training: bool) -> None:
        """Do nothing: the other process rehearsed when it loaded the module."""


class ProgramLoop:
    """The loop of a program that has loaded its case.

    Args:
        program: the executable.
        folder: the case's folder; it may be deleted afterwards.
        workload: the workload that was traced.
        training: whether for training steps; otherwise for inference.
        device: where it runs.

    Attributes:
        pid: the program's process id.

    Raises:
        SkippedError: LibTorch does not have an operation that the module needs.
        ProgramError: the program failed.
    """

    def __init__(
        self, program: Path, folder: Path, workload: Workload, training: bool, device: Device
    ) -> None:
        self._workload, self._training, self._device = workload, training, device
        self._where = workload.inputs[0].device
        self._numbers = numbers_of(workload.module)
        self._process = Process(program, folder)
        self.pid = self._process.pid
        self._memory = device.memory_of(self.pid)
        self._leave()
        try:
            self._process.ask("load")
        except ProgramError as error:
            self.close()
            if UNKNOWN in str(error):
                raise SkippedError(f"engine=libtorch cannot load the module: {error}") from error
            raise

    def step(self, calls: int) -> list[int]:
        """Take one sample of `calls` calls, and return its marks."""
        return self._process.ask(f"sample {calls} 1")

    def burst(self, calls: int, samples: int) -> list[list[int]]:
        """Take `samples` samples, and return the marks of each."""
        marks = self._process.ask(f"sample {calls} {samples}")
        each = len(marks) // samples
        return [marks[start : start + each] for start in range(0, len(marks), each)]

    def answer(self) -> Answer:
        """Compute a call with the initial inputs; in training, a step with the initial weights too.

        The module is traced again if it has changed since, for example if dropout is now off.
        """
        with tempfile.TemporaryDirectory(prefix="microbench-") as name:
            folder = Path(name)
            traced.write_inputs(self._workload, folder)
            if self._training and numbers_of(self._workload.module) == self._numbers:
                traced.write_state(self._workload, folder)
            elif self._training:
                with self._back():
                    traced.write_module(self._workload, True, folder)
            self._process.ask(f"answer {folder}")
            return Answer(**_read(folder / "answer.pt", self._where))

    def weights(self) -> list[torch.Tensor]:
        """Return the program's current parameters, in the module's order."""
        with tempfile.TemporaryDirectory(prefix="microbench-") as name:
            self._process.ask(f"weights {name}")
            return _read(Path(name, "weights.pt"), self._where)["weights"]

    def peak_memory(self) -> int | None:
        """Return the peak in bytes above the level before the module was loaded; None if unknown."""
        return self._memory.peak()

    def _leave(self) -> None:
        """Move this process's copy of the module to the host: the device then holds the program's alone."""
        self._workload.module.to("cpu")
        self._device.give_back()

    @contextmanager
    def _back(self) -> Iterator[None]:
        """Have this process's copy of the module on the device."""
        self._workload.module.to(self._where)
        try:
            yield
        finally:
            self._leave()

    def close(self) -> None:
        """End the program."""
        self._process.close()


def seconds(marks: Sequence[int]) -> list[float]:
    """Return each mark's time in seconds after the first; marks are in nanoseconds of the program's clock."""
    return [(mark - marks[0]) * 1e-9 for mark in marks]


def numbers_of(module: nn.Module) -> list[dict[str, float]]:
    """Return the numeric attributes of a module's parts, such as `training` and dropout rates."""
    return [
        {name: value for name, value in vars(each).items() if isinstance(value, (int, float))}
        for each in module.modules()
    ]


def _read(path: Path, device: torch.device) -> dict[str, list[torch.Tensor]]:
    """Read lists of tensors that the program wrote, with types that only the full unpickler knows."""
    found: dict[str, list[torch.Tensor]] = torch.load(path, map_location=device, weights_only=False)
    return found
