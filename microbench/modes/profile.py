"""Profiling: a call of the uninstrumented module, and every call that it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import nn

from microbench import modes
from microbench.config import Config, plain
from microbench.devices import Device
from microbench.engines import Program
from microbench.errors import SkippedError
from microbench.formats.precision import Autocast
from microbench.measure.experiment import Mark, Marker
from microbench.measure.sampler import Sampled
from microbench.modes import Findings, Trial, is_finite
from microbench.profile.chrome import write_trace
from microbench.profile.dry_run import dry_run
from microbench.profile.peaks import peaks
from microbench.profile.power import joules_per_call
from microbench.profile.study import Study, measure_memory
from microbench.profile.timing import Passes, call_times, marking
from microbench.profile.trace import trace
from microbench.records.record import Call, phase_of_calls
from microbench.workloads import Objective, Workload
from microbench.workloads.arranged import Applied, Arranged, unarranged


class Mode(modes.Mode):
    """One phase, `inference`, or `forward` of a training step, and every call that it makes."""

    def trains(self, config: Config) -> bool:
        """Return whether the forward pass is that of a training step."""
        return config.mode.training

    def check(self, config: Config) -> None:
        """Reject an engine that does not call a module's layers one by one.

        Raises:
            SkippedError: it does not, or the work is a file that holds no module.
        """
        if plain(config).engine.name != "eager":
            raise SkippedError(
                f"mode=profile is for modules of torch, and {config.model.file} holds none: use mode=infer"
            )
        if config.engine.name != "eager":
            raise SkippedError(
                f"engine={config.engine.name} does not run layers one by one: use engine=eager, or "
                "mode=layers, which measures each layer by itself"
            )

    @contextmanager
    def experiment(self, program: Program, config: Config) -> Iterator[Trial]:
        """Return the phase of the uninstrumented module, with the calls within it as inner parts."""
        training, call = config.mode.training, program.call
        with torch.set_grad_enabled(True) if training else torch.inference_mode():
            call()  # some modules make tables in their first call, which is not sampled
            root = trace(unwrapped(program.workload.module), call, _objective(program.workload, training))
            passes = Passes(call, root, phase_of_calls(training))

            def findings(sampled: Sampled, device: Device, is_first: bool) -> Findings:
                cost = marking(device.clock, device.torch_device())
                study = Study(
                    root,
                    training,
                    call_times(root, sampled.inner, cost),
                    measure_memory(call, root, device) if config.memory and is_first else None,
                )
                if not is_first:
                    return Findings(study.calls(counted=False))
                return Findings(study.calls(), joules_per_call(call, device), peaks(device))

            def plain(mark: Marker, calls: int) -> tuple[Mark, Mark]:
                start = mark()
                call()
                return start, mark()

            yield Trial(passes.experiment(), lambda: is_finite(program.outputs(call())), findings, plain)

    def dry_run(self, workload: Workload, config: Config, fill: Callable[[], object]) -> tuple[Call, ...]:
        """Return a workload's calls and their costs, found with fake tensors."""
        training, module = config.mode.training, workload.module
        casts = torch.autocast(module.device, module.dtype) if isinstance(module, Autocast) else nullcontext()
        with torch.set_grad_enabled(training), casts:
            objective = _objective(workload, training)
            inner = module.module if isinstance(module, Autocast) else module
            root = dry_run(*unarranged(inner, workload.inputs), fill=fill, objective=objective)
        return Study(root, training).calls()

    def write_trace(self, program: Program, device: Device, path: Path) -> None:
        """Write a trace of one call, for Perfetto or chrome://tracing.

        Raises:
            OSError: it cannot be written.
        """
        write_trace(unwrapped(program.workload.module), program.call, device, path)


def _objective(workload: Workload, training: bool) -> Objective | None:
    """Return the objective from which the backward pass starts; None without training."""
    return workload.objective if training else None


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module without its wrappers, so that its layers keep their names."""
    while isinstance(module, (Autocast, Applied, Arranged)) and isinstance(module.module, nn.Module):
        module = module.module
    return module
