"""Writes what torch's own profiler sees of a module's calls, for Perfetto and chrome://tracing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function, supported_activities

from microbench.profile.tracing import Names, calling, type_name

CALLS = 3


def write_trace(module: nn.Module, call: Callable[[], Any], path: Path) -> None:
    """Call the module a few times, and write what ran when: its modules by name, operators, kernels.

    Args:
        module: whose modules give the names.
        call: calls it.
        path: the file, in Chrome's trace format (JSON).

    Raises:
        OSError: the file cannot be written.
    """
    names = Names(module)
    within: list[str] = []

    def named(original: Callable[..., Any], each: nn.Module, *args: Any, **kwargs: Any) -> Any:
        name = names.of(each, within[-1] if within else "")
        within.append(name)
        try:
            with record_function(f"{name or 'model'} ({type_name(each)})"):
                return original(each, *args, **kwargs)
        finally:
            within.pop()

    here = torch.accelerator.is_available()
    activities = supported_activities() if here else {ProfilerActivity.CPU}  # type: ignore[no-untyped-call]
    with profile(activities=activities, record_shapes=True) as profiler, calling(named):
        for _ in range(CALLS):
            call()
    with TemporaryDirectory() as folder:  # torch says nothing where it cannot write
        draft = Path(folder) / path.name
        profiler.export_chrome_trace(str(draft))
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(draft, path)
