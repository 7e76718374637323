"""The energy of a GPU, as its own counter has it."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch

from microbench.system import gpu


class CountedEnergy:
    """Measures the energy of the current device, including board and memory, by its own counter.

    The counter is updated some tens of times per second: a measurement should last a second or more. GPUs
    before Volta and parts of a GPU (MIG) have none.

    NVIDIA's management library stays open from before the first reading until after the last: with several
    GPUs, opening it takes long, and the energy used meanwhile is not the work's.
    """

    def __init__(self) -> None:
        self._library = ExitStack()
        self._handle: Any = None  # the GPU's handle, while the library is open
        self._before: int | None = None
        self._after: int | None = None

    def __enter__(self) -> CountedEnergy:
        """Begin, once the GPU has finished its earlier work."""
        torch.cuda.synchronize()  # may raise an earlier error; the library must not stay open then
        self._handle = gpu.answer(self._found)
        self._before, self._after = self._millijoules(), None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, once the GPU has finished its work."""
        try:
            self._after = self._millijoules()
        finally:
            gpu.answer(self._library.close)

    def _found(self) -> Any:
        """Return the current device's handle.

        NVML numbers all GPUs, torch only the visible ones (CUDA_VISIBLE_DEVICES): they are matched by UUID.
        """
        import pynvml

        self._library.enter_context(gpu.library())
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")

    def _millijoules(self) -> int | None:
        """Wait for all work, and read the energy since the driver was loaded; None without a counter."""
        import pynvml

        torch.cuda.synchronize()
        if self._handle is None:
            return None
        return gpu.answer(lambda: int(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)))

    @property
    def joules(self) -> float | None:
        """The energy in joules; None if the GPU has no counter."""
        return None if self._before is None or self._after is None else (self._after - self._before) * 1e-3
