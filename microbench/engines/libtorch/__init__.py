"""LibTorch: the traced module in a C++ program, without Python."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from microbench import devices
from microbench.engines import Job, Program, in_format, unsupported
from microbench.engines.capture.tracing import REHEARSALS
from microbench.engines.libtorch import build, optimizers, traced
from microbench.engines.libtorch.loop import LoopProgram, ProgramLoop
from microbench.errors import SkippedError
from microbench.host import allocator

TRAINS = True
KEEPS_GRAPH = False
FILES = ("torchscript",)
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
LAYOUTS = ("contiguous", "channels_last")
DEVICES = ("cpu", "cuda")
OWN_PROCESS = True


def prepare(job: Job) -> Program:
    """Trace the module, start the program that runs it, and wait until it has loaded and optimized it.

    The program is built first if it does not exist yet.

    Raises:
        SkippedError: it cannot be built here, or cannot run the module.
    """
    device, settings = devices.find(job.config.device.name), _settings(job)
    program = build.program(device.libraries)
    workload, info = in_format(job)
    with tempfile.TemporaryDirectory(prefix="microbench-") as name:
        folder = Path(name)
        versions = [each._version for each in workload.inputs]
        module = traced.write(workload, job.training, folder)
        is_written = versions != [each._version for each in workload.inputs]
        overwrites = is_written and traced.overwrites(workload, job.training)
        settings["parameters"] = [name for name, _ in module.named_parameters()]
        torch.save(settings, folder / "settings.pt")
        loop = ProgramLoop(program, folder, replace(workload, module=module), job.training, device)
    return LoopProgram(
        workload,
        partial(loop.step, 1),
        list(workload.module.parameters()),
        overwrites=overwrites,
        info=replace(
            info,
            engine=f"libtorch {torch.__version__}",
            threads=settings["threads"],
            interop_threads=settings["interop_threads"],
        ),
        close=loop.close,
        pid=loop.pid,
        loop=loop,
    )


def _settings(job: Job) -> dict[str, Any]:
    """Return the program's settings, except the names of the parameters.

    Raises:
        UserError, SkippedError: it cannot train with this optimizer, or with these options of the engine.
    """
    config, engine = job.config, job.config.engine
    device, precision = devices.find(config.device.name), config.precision.name
    if precision not in device.precisions:
        able = [each for each in PRECISIONS if each in device.precisions]
        raise unsupported("libtorch", f"precision={precision} on device={device.name}", able)
    if config.measure.cold_cache and device.clock.ahead:
        raise SkippedError(
            f"measure.cold_cache=true is not possible with engine=libtorch on device={device.name}: its "
            "program would launch the work while the GPU evicts its cache, and cold work could look faster "
            "than warm; use another engine"
        )
    if job.training and (engine.freeze or engine.optimize):
        raise SkippedError("engine.freeze and engine.optimize are for inference: use mode=infer")
    tuned = config.allocator == "tuned"
    return {
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "mkldnn": config.device.mkldnn,
        "flush_denormal": config.flush_denormal,
        "share_memory": allocator.SHARED if tuned else None,
        "keep_memory": allocator.KEPT if tuned else None,
        "device": str(job.workload.inputs[0].device),
        "tf32": precision == "tf32" if "tf32" in device.precisions else None,
        "evict": device.evicting_bytes() if config.measure.cold_cache else 0,
        "training": job.training,
        "rehearsals": REHEARSALS["train" if job.training else "infer"],
        "freeze": engine.freeze,
        "optimize": engine.optimize,
        "is_loss": job.workload.objective.is_loss,
        "seed": config.seed,
        "optimizer": config.optimizer.cls,
        "optimizer_options": optimizers.options_of(config.optimizer) if job.training else {},
    }
