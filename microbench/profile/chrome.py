"""Traces of a module's calls by torch's own profiler, for Perfetto and chrome://tracing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn
from torch.profiler import profile, record_function

from microbench.devices import Device
from microbench.watch.modules import Names, calling, type_name

CALLS = 3
LONGEST = 5.0  # seconds after which no further call begins


def write_trace(module: nn.Module, call: Callable[[], Any], device: Device, path: Path) -> None:
    """Call the module a few times, or once if it is slow, and write a timeline: modules, operators, kernels.

    Args:
        module: the module whose calls, and those within it, are named.
        call: calls it, or a module around it.
        device: the device where it runs.
        path: the file, in Chrome's trace format (JSON).

    Raises:
        OSError: the file cannot be written.
    """
    names = Names(module)
    within: list[str] = []

    def named(original: Callable[..., Any], each: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not within and each is not module:  # a wrapper around it
            return original(each, *args, **kwargs)
        name = names.of(each, within[-1] if within else "")
        within.append(name)
        try:
            with record_function(f"{name or 'model'} ({type_name(each)})"):
                return original(each, *args, **kwargs)
        finally:
            within.pop()

    with profile(activities=device.activities(), record_shapes=True) as profiler, calling(named):
        end = device.clock.now() + LONGEST
        for _ in range(CALLS):
            call()
            if device.clock.now() >= end:
                break
    with TemporaryDirectory() as folder:  # torch does not report a failed write
        draft = Path(folder) / path.name
        profiler.export_chrome_trace(str(draft))
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(draft, path)
