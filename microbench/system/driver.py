"""What NVIDIA's driver is to this process, without initializing it; no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from microbench.errors import UserError

LIBRARY = "libcuda.so.1"
CLEAN = (3, 100)
"""What the driver answers in a process that has not initialized it (3), or could not, without a GPU (100)."""

VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
NODES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/nvhost-ctrl-gpu"))
"""What there is where the driver is loaded: on a machine, in WSL, on a Jetson."""

NONE = ("", "-1")
"""Values of CUDA_VISIBLE_DEVICES with which a process sees no GPU."""

WITHOUT = ("cpu",)
"""Devices whose cases need no GPU."""

BY_NVML = "PYTORCH_NVML_BASED_CUDA_CHECK"
BENCHMARKER = "TORCHINDUCTOR_USE_EXPERIMENTAL_BENCHMARKER"


def is_initialized() -> bool:
    """Return whether something in this process has initialized CUDA, which its forks then cannot use.

    The driver's library is asked only if something has loaded it, so that this loads nothing.
    """
    import ctypes

    try:
        library = ctypes.CDLL(LIBRARY, mode=os.RTLD_NOLOAD)
    except OSError:
        return False
    return library.cuDeviceGetCount(ctypes.byref(ctypes.c_int())) not in CLEAN


def keep_uninitialized(environment: MutableMapping[str, str]) -> None:
    """Let torch look for GPUs without initializing CUDA, in a process that others will be forked from.

    Until torch 2.12, importing its compiler asks for a GPU. By NVML, that does not initialize CUDA, except if
    only a part of a GPU (MIG) is visible, so that the code that asks is left out then.
    """
    environment.setdefault(BY_NVML, "1")
    if "MIG-" in environment.get(VISIBLE, "") and _torch() < (2, 12):
        environment.setdefault(BENCHMARKER, "0")


def variables_for(device: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which a process sees the GPUs that a device needs; none if it does anyway.

    Cases of the CPU see none: torch's compiler would make a context on one, which takes time and memory there
    and here. Those of a GPU with a number see that one alone, as the first.

    Args:
        device: the device's label, such as `cuda:1`, or `auto`.
        environment: the environment that the process inherits.

    Raises:
        UserError: there is no GPU of that number, or this process may not see it.
    """
    name, _, number = device.partition(":")
    if number:
        return _only(int(number), environment)
    sees = environment.get(VISIBLE) not in NONE and any(node.exists() for node in NODES)
    return {VISIBLE: ""} if name in WITHOUT and sees else {}


def _only(number: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which a process sees one GPU alone.

    They are counted as nvidia-smi does; but if the environment has a list of them, its entries are.
    """
    from microbench.system import gpu

    listed = environment.get(VISIBLE)
    if listed is None:
        _check(number, gpu.count(), "this machine has {}")
        return {ORDER: "PCI_BUS_ID", VISIBLE: str(number)}
    entries = [] if listed in NONE else [each.strip() for each in listed.split(",")]
    _check(number, len(entries), f"{VISIBLE}={listed} lists {{}}")
    return {VISIBLE: entries[number]}


def _check(number: int, there: int | None, told: str) -> None:
    """Raise a UserError if there are fewer GPUs; None means that their number is unknown."""
    if there is None or number < there:
        return
    words = told.format("no GPU" if there == 0 else f"{there} GPU" + "s" * (there > 1))
    allowed = f"; give a number from 0 to {there - 1}" if there > 1 else "; give cuda:0" if there else ""
    raise UserError(f"There is no device=cuda:{number}: {words}{allowed}.")


def _torch() -> tuple[int, ...]:
    """Return the first two parts of torch's version."""
    from importlib import metadata

    return tuple(map(int, re.findall(r"\d+", metadata.version("torch"))[:2]))
