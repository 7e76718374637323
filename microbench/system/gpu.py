"""What NVIDIA's management library (NVML) says of the GPUs; no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Answer = TypeVar("Answer")

HIDDEN = (
    "The module pynvml here is not NVIDIA's, and may read the GPU's memory, clocks and energy wrongly or not "
    "at all: `pip uninstall pynvml`, then `pip install --force-reinstall nvidia-ml-py`."
)


def is_hidden() -> bool:
    """Return whether the package `pynvml` has replaced the module of that name that nvidia-ml-py installs.

    Only the latter has the function that later libraries build on.
    """
    import pynvml

    return not hasattr(pynvml, "_nvmlGetFunctionPointer")


def driver() -> str | None:
    """Return the driver's version; None if there is none."""
    import pynvml

    def ask() -> str:
        with library():
            return str(pynvml.nvmlSystemGetDriverVersion())

    return answer(ask)


def count() -> int | None:
    """Return the number of GPUs, as nvidia-smi lists them; None if NVML cannot be asked."""
    import pynvml

    def ask() -> int:
        with library():
            return int(pynvml.nvmlDeviceGetCount())

    return answer(ask)


@contextmanager
def library() -> Iterator[None]:
    """Keep NVIDIA's management library open."""
    import pynvml

    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def answer(question: Callable[[], Answer]) -> Answer | None:
    """Query NVIDIA's management library; None if it cannot answer."""
    import pynvml

    try:
        return question()
    except pynvml.NVMLError:
        return None
