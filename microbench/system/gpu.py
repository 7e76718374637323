"""What NVIDIA's management library (NVML) says of a GPU; no torch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from microbench.errors import UserError
from microbench.records.record import Scalar
from microbench.system import cpus
from microbench.system.files import read

PART = "MIG-"
"""What the UUID of a part of a GPU (multi-instance GPU) begins with; that of a whole one, with `GPU-`."""

PCI = Path("/sys/bus/pci/devices")
MEGAHERTZ = 1e6
INSTANT_POWER = "power at a moment"
"""What only newer GPUs tell; the others tell the mean of the last second."""

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


class NoAnswerError(Exception):
    """NVML cannot be asked about a GPU; the text says why."""


@dataclass(frozen=True)
class Reading:
    """One look at a GPU. A value that NVML does not tell is None.

    Attributes:
        time: seconds on the monotonic clock.
        memory: bytes in use on the device, by all processes together.
        sm_clock: Hz of the multiprocessors.
        memory_clock: Hz of the memory.
        power: watts: at this moment, or on GPUs that do not tell that, the mean of the last second.
        temperature: °C.
        reasons: what holds the clock down: NVML's bits, see `measure/gpu.py`.
        energy: joules since the driver was loaded.
    """

    time: float
    memory: int | None = None
    sm_clock: float | None = None
    memory_clock: float | None = None
    power: float | None = None
    temperature: float | None = None
    reasons: int | None = None
    energy: float | None = None


class Gpu:
    """A GPU, or a part of one, while NVML is open. No call raises: what NVML does not tell is None.

    What it refuses once, for lack of permission or of a sensor, is not asked again.

    Attributes:
        uuid: its UUID.
        is_part: whether it is a part of a GPU: clocks, power, temperature and energy are the whole GPU's,
            which others use too, so they are not read.
        missing: NVML's reason for what it refused, by what was asked.
    """

    def __init__(self, uuid: str) -> None:
        """Find a GPU by its UUID.

        Raises:
            NoAnswerError: NVML does not know it.
        """
        import pynvml

        self._nvml: Any = pynvml
        try:
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        except pynvml.NVMLError as error:
            raise NoAnswerError(f"NVML does not know the GPU {uuid}: {error}") from error
        self.uuid, self.is_part = uuid, uuid.startswith(PART)
        self.missing: dict[str, str] = {}
        nvml = self._nvml
        self._permanent = (
            nvml.NVML_ERROR_NOT_SUPPORTED,
            nvml.NVML_ERROR_NO_PERMISSION,
            nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            nvml.NVML_ERROR_INVALID_ARGUMENT,
        )

    def reading(self) -> Reading:
        """Return what may be read while something is timed: no list of processes, which stalls the driver."""
        now = time.monotonic()
        if self.is_part:
            return Reading(now, self.memory())
        nvml, handle = self._nvml, self._handle
        return Reading(
            now,
            self.memory(),
            self._clock(nvml.NVML_CLOCK_SM),
            self._clock(nvml.NVML_CLOCK_MEM),
            self.power(),
            self._ask(
                "temperature", lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
            ),
            self._ask("what holds clocks down", lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)),
            self.energy(),
        )

    def memory(self) -> int | None:
        """Return the bytes in use on the device, without what the driver reserves for itself."""
        nvml, handle = self._nvml, self._handle
        return self._ask("memory", lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2).used))

    def processes(self) -> list[tuple[int, int | None]] | None:
        """Return each process that computes on it: the host's process id, and its bytes.

        This holds a lock of the driver for milliseconds: never call it while something is timed.
        """
        found = self._ask("processes", lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        return None if found is None else [(each.pid, each.usedGpuMemory) for each in found]

    def utilization(self) -> float | None:
        """Return the share of the last moment, up to a second, in which something ran on it."""
        if self.is_part:
            return None
        return self._ask(
            "utilization", lambda: self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu / 100
        )

    def energy(self) -> float | None:
        """Return the joules that it has used since the driver was loaded; None for a part of a GPU."""
        if self.is_part:
            return None
        question = self._nvml.nvmlDeviceGetTotalEnergyConsumption
        return self._ask("energy", lambda: question(self._handle) * 1e-3)

    def power(self) -> float | None:
        """Return its power in watts at this moment, or the last second's mean; None for a part of a GPU."""
        if self.is_part:
            return None
        found = self._ask(INSTANT_POWER, self._instant_power)
        if found is None and INSTANT_POWER in self.missing:
            found = self._ask("power", lambda: self._nvml.nvmlDeviceGetPowerUsage(self._handle) * 1e-3)
        return found

    def _instant_power(self) -> float:
        nvml = self._nvml
        (value,) = nvml.nvmlDeviceGetFieldValues(self._handle, [(nvml.NVML_FI_DEV_POWER_INSTANT, 0)])
        if value.nvmlReturn != nvml.NVML_SUCCESS:
            raise nvml.NVMLError(value.nvmlReturn)
        return float(value.value.uiVal) * 1e-3

    def _clock(self, kind: int) -> float | None:
        return self._ask("clocks", lambda: self._nvml.nvmlDeviceGetClockInfo(self._handle, kind) * MEGAHERTZ)

    def max_clock(self) -> float | None:
        """Return the highest clock of its multiprocessors in Hz; None for a part of a GPU."""
        if self.is_part:
            return None
        kind = self._nvml.NVML_CLOCK_SM
        return self._ask(
            "the highest clock", lambda: self._nvml.nvmlDeviceGetMaxClockInfo(self._handle, kind) * MEGAHERTZ
        )

    def facts(self) -> dict[str, Scalar]:
        """Return the records' `env_gpu_*` fields that NVML knows; of a part, those of the whole GPU."""
        nvml, whole = self._nvml, self._whole()
        memory, sm = nvml.NVML_CLOCK_MEM, nvml.NVML_CLOCK_SM
        questions: dict[str, Callable[[], Scalar]] = {
            "gpu_ecc": lambda: bool(nvml.nvmlDeviceGetEccMode(whole)[0]),
            "gpu_mig": lambda: bool(nvml.nvmlDeviceGetMigMode(whole)[0]),
            "gpu_power_limit": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(whole) * 1e-3,
            "gpu_clock_max": lambda: nvml.nvmlDeviceGetMaxClockInfo(whole, sm) * MEGAHERTZ,
            "gpu_memory_clock_max": lambda: nvml.nvmlDeviceGetMaxClockInfo(whole, memory) * MEGAHERTZ,
            "gpu_pcie": lambda: (
                f"gen {nvml.nvmlDeviceGetCurrPcieLinkGeneration(whole)} "
                f"x{nvml.nvmlDeviceGetCurrPcieLinkWidth(whole)}"
            ),
            "gpu_pstate": lambda: f"P{nvml.nvmlDeviceGetPerformanceState(whole)}",
        }
        return {name: self._ask(name, question) for name, question in questions.items()}

    def near_cpus(self) -> set[int] | None:
        """Return the CPUs near it: NVML's, otherwise those of its PCI device; None if neither is known."""
        nvml, whole, words = self._nvml, self._whole(), ((os.cpu_count() or 1) + 63) // 64
        masks = self._ask("CPUs nearby", lambda: list(nvml.nvmlDeviceGetCpuAffinity(whole, words)))
        if masks is not None:
            found = {
                64 * place + bit for place, mask in enumerate(masks) for bit in range(64) if mask >> bit & 1
            }
            if found:
                return found
        bus = self._ask("the PCI bus", lambda: str(nvml.nvmlDeviceGetPciInfo(whole).busId))
        if bus is None:
            return None
        domain, _, rest = bus.lower().partition(":")
        return cpus.parsed(read(PCI / f"{domain[-4:]}:{rest}" / "local_cpulist") or "") or None

    def _whole(self) -> Any:
        """Return the handle of the GPU that this is, or is a part of."""
        if not self.is_part:
            return self._handle
        question = self._nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle
        return self._ask("the whole GPU", lambda: question(self._handle)) or self._handle

    def _ask(self, what: str, question: Callable[[], Answer]) -> Answer | None:
        if what in self.missing:
            return None
        try:
            return question()
        except self._nvml.NVMLError as error:
            if error.value in self._permanent:
                self.missing[what] = str(error)
            return None


def driver() -> str | None:
    """Return the driver's version; None if NVML cannot be asked."""
    return _answer(lambda nvml: str(nvml.nvmlSystemGetDriverVersion()))


def count() -> int | None:
    """Return the number of GPUs, as nvidia-smi lists them; None if NVML cannot be asked."""
    return _answer(lambda nvml: int(nvml.nvmlDeviceGetCount()))


def _answer(question: Callable[[Any], Answer]) -> Answer | None:
    """Ask NVML; None if it cannot be asked, or does not tell."""
    import pynvml

    try:
        with _library() as nvml:
            return question(nvml)
    except (NoAnswerError, pynvml.NVMLError):
        return None


@contextmanager
def _library() -> Iterator[Any]:
    """Open NVML, and yield the module `pynvml`.

    Raises:
        NoAnswerError: there is no such library, it may not be used, or the module is not NVIDIA's.
    """
    import pynvml

    if is_hidden():
        raise NoAnswerError(HIDDEN)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NoAnswerError(f"NVML: {error}") from error
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


@contextmanager
def kept_open() -> Iterator[None]:
    """Keep NVML open, if it can be, so that questions within the context need not load it again each."""
    with ExitStack() as stack:
        with suppress(NoAnswerError):
            stack.enter_context(_library())
        yield


@contextmanager
def opened(uuid: str) -> Iterator[Gpu]:
    """Open NVML, and find a GPU by its UUID.

    Raises:
        NoAnswerError: there is no such library, it may not be used, or it does not know the GPU.
    """
    with _library():
        yield Gpu(uuid)


def facts(uuid: str) -> dict[str, Scalar]:
    """Return the records' `env_gpu_*` fields that NVML knows of a GPU; nothing if it cannot be asked."""
    try:
        with opened(uuid) as found:
            return found.facts()
    except NoAnswerError:
        return {}


def full_uuid(uuid: str) -> str:
    """Return a GPU's UUID as NVML writes it, given as CUDA does: without what says that it is a part."""
    if uuid.startswith(("GPU-", PART)):
        return uuid
    for prefix in ("GPU-", PART):
        try:
            with opened(prefix + uuid):
                return prefix + uuid
        except NoAnswerError:
            continue
    return f"GPU-{uuid}"


def visible(device: int | str) -> str:
    """Return the UUID of a GPU that CUDA would number so in this process.

    CUDA_VISIBLE_DEVICES is obeyed. Numbers count in the order of the PCI bus, as CUDA does if
    CUDA_DEVICE_ORDER=PCI_BUS_ID, and by default if all GPUs are alike.

    Raises:
        NoAnswerError: NVML cannot be asked.
        UserError: there is no such GPU.
    """
    if isinstance(device, str):
        return device
    with _library() as nvml:
        count = nvml.nvmlDeviceGetCount()
        every = [nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count)]
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = every if named is None else list(_named(named, every))
    if not 0 <= device < len(seen):
        raise UserError(f"There is no GPU {device}: this process may use {len(seen)}, from 0.")
    return seen[device]


def _named(variable: str, every: list[str]) -> Iterator[str]:
    """Yield the GPUs that CUDA_VISIBLE_DEVICES names, until the first that is not there, as CUDA does."""
    for name in (each.strip() for each in variable.split(",")):
        if name.isdigit() and int(name) < len(every):
            yield every[int(name)]
        elif name.startswith(PART):
            yield name
        elif name.startswith("GPU-") and (alike := [each for each in every if each.startswith(name)]):
            yield alike[0]
        else:
            return
