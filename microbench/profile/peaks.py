"""This machine's peaks: arithmetic, memory bandwidth, and a call that does nothing. Measured once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise

import torch
from msgspec.structs import replace
from torch import Tensor, nn
from torch.nn import functional

from microbench import devices
from microbench.devices import Device
from microbench.formats import arithmetic
from microbench.measure.disturbances import disturbances
from microbench.measure.experiment import Clock
from microbench.profile import peaks_cache
from microbench.records.peaks import Peaks
from microbench.records.record import WarningCode
from microbench.system import cgroups, machine
from microbench.system.sensors import Sensors

METHOD = 5  # incremented when peaks are measured differently, which discards stored ones
LONG = 0.05  # seconds per call: work is enlarged until it takes about that long
BRIEF = 0.002  # the same for a format that may be emulated, until it is known not to be
ENOUGH = 0.5  # of that: work that takes this long is not enlarged further
GROWTH = 4.0  # at most this factor at once, because a larger product may take longer per FLOP
SLOWER = 0.5  # of the FLOP/s in fp32: a 16-bit format below that is emulated
LEAST_FLOPS = 2**18  # of the first product, which is quick however slow a format is
LEAST_BYTES = 2**18  # of a probe of memory; less takes no time compared with the call itself
LASTING = {"memory": 0.01, "call": 0.03}  # seconds that a probe repeats its work
PASSES = 3  # over all probes, because a disturbance seldom affects the same probe in each
LONGEST = 4.0  # seconds after which no further pass begins
SAMPLES = 3  # between two checks of the time
GLANCES = 8  # calls of a probe, at most
TIME_TO_GLANCE = 4.0  # times a call's intended seconds: after that, no more than SAMPLES
SHORT = 2e-5  # seconds: shorter calls are timed several at once
MOST_OF_MEMORY = 1 / 8  # for the tensors of a probe
UNKNOWN_MEMORY = 8 * 2**30  # bytes of memory to assume if the kernel does not say
PERIOD = 2**20 - 3  # random numbers, which are repeated; a prime, so that no two rows are equal
PASSING = {WarningCode.FOREIGN_LOAD, WarningCode.STOLEN, WarningCode.THROTTLED, WarningCode.THERMAL}
"""Disturbances that temporarily lower peaks."""


def peaks(device: Device, refresh: bool = False) -> Peaks:
    """Return the device's peaks with torch's current threads, measured now or before.

    Takes about six seconds the first time; then they are read from a file, see `peaks_cache`. Peaks that were
    disturbed by other work are not stored.

    Args:
        device: the device, in the run's state.
        refresh: whether to measure again.
    """
    identity = identity_of(device)
    found = None if refresh else peaks_cache.read(identity)
    if found is None:
        found = measure(device)
        if not found.disturbed:
            peaks_cache.write(identity, found)
    return found


def identity_of(device: Device) -> Mapping[str, str | int | float | bool | None]:
    """Return all that peaks depend on: they are stored separately for each."""
    return {
        "method": METHOD,
        "host_id": machine.host_id(),
        "device": device.name,
        **device.identity(),
        "torch": str(torch.__version__),
        **devices.fp32_products(),
    }


def measure(device: Device) -> Peaks:
    """Measure all peaks: the fastest of many calls of each probe, because a peak is no typical value."""
    place = device.torch_device()
    with torch.inference_mode(), torch.autocast(place.type, enabled=False), Sensors() as sensors:
        found = reduce(Peaks.best, _passes(device))
    torch.accelerator.empty_cache()  # gigabytes, which are no longer needed
    return replace(found, bandwidths=evened(found.bandwidths), disturbed=disturbed(sensors))


def disturbed(sensors: Sensors) -> bool:
    """Return whether a temporary disturbance slowed this process."""
    around = sensors.surroundings(torch.get_num_threads(), machine.allocator())
    return any(each.code in PASSING for each in disturbances(sensors.readings(calls=1), around))


def _passes(device: Device) -> Iterator[Peaks]:
    """Yield several measurements of every peak; fewer if one takes long."""
    clock, place = device.clock, device.torch_device()
    most = memory_for_probes(device)
    products = {dtype: Products(clock, place, dtype, most) for dtype in (torch.float32, *HALF)}
    tf32 = Products(clock, place, torch.float32, most)
    end = clock.now() + LONGEST
    for _ in range(PASSES):
        yield _pass(products, tf32, device)
        if clock.now() >= end:
            break


def _pass(products: Mapping[torch.dtype, Products], tf32: Products, device: Device) -> Peaks:
    """Measure every peak once; emulated formats only briefly.

    Args:
        products: by number format.
        tf32: those of fp32 in TF32, of a device that has it.
        device: the device.
    """
    clock, place = device.clock, device.torch_device()
    slow = emulated(products, device.name)
    fp32, fp32_by = products[torch.float32].best(LONG)
    bf16, bf16_by = (0.0, "") if torch.bfloat16 in slow else products[torch.bfloat16].best(LONG)
    has_fp16 = "fp16" in device.peaks and torch.float16 not in slow
    fp16, fp16_by = products[torch.float16].best(LONG) if has_fp16 else (0.0, "")
    with device.tf32():
        in_tf32, tf32_by = tf32.best(LONG) if "tf32" in device.peaks else (0.0, "")
    return Peaks(
        fp32=fp32 or None,
        bf16=bf16 or None,
        fp32_by=fp32_by,
        bf16_by=bf16_by,
        fp16=fp16 or None,
        fp16_by=fp16_by,
        tf32=in_tf32 or None,
        tf32_by=tf32_by,
        bandwidths=tuple(bandwidths(clock, place, largest(device))),
        call_seconds=call_of_nothing(clock, place),
        emulated=tuple(
            (name_of(each), max(rate, products[each].best(BRIEF)[0])) for each, rate in slow.items()
        ),
    )


def emulated(products: Mapping[torch.dtype, Products], device: str) -> dict[torch.dtype, float]:
    """Return the 16-bit formats that are computed in fp32, as is known or shown by their FLOP/s, and these.

    They are found by brief products in one thread, because threads that wait for each other are slowed by
    other work on the machine.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fp32, *half = (products[each].best(BRIEF)[0] for each in (torch.float32, *HALF))
    finally:
        torch.set_num_threads(before)
    return {
        dtype: rate
        for dtype, rate in zip(HALF, half, strict=True)
        if rate and (arithmetic.is_emulated(name_of(dtype), device) or rate < SLOWER * fp32)
    }


def name_of(dtype: torch.dtype) -> str:
    """Return a format's name, such as `bfloat16`."""
    return str(dtype).removeprefix("torch.")


@dataclass(frozen=True)
class Work:
    """One call of a probe.

    Attributes:
        call: the call.
        amount: its work, in FLOP or B.
        size: the bytes of its tensors.
    """

    call: Callable[[], object]
    amount: float
    size: int


class Draw:
    """Creates random tensors with a generator of its own, which leaves torch's unchanged.

    They are not constant, because the numbers that a GPU multiplies affect its power, and thus its speed.
    """

    def __init__(self, place: torch.device, dtype: torch.dtype) -> None:
        self._generator = torch.Generator(place).manual_seed(0)
        self._place, self._dtype = place, dtype

    def __call__(self, *shape: int) -> Tensor:
        """Return a tensor of that shape, of normally distributed numbers."""
        count = math.prod(shape)
        drawn = torch.randn(
            min(count, PERIOD), generator=self._generator, device=self._place, dtype=torch.float32
        )
        return drawn.to(self._dtype).repeat(math.ceil(count / PERIOD))[:count].view(shape)


def matmul(draw: Draw, amount: float) -> Work:
    """Return the product of two square matrices."""
    side = _side(amount)
    a, b = draw(side, side), draw(side, side)
    out = torch.empty_like(a)
    return Work(partial(torch.mm, a, b, out=out), 2.0 * side**3, 3 * a.nbytes)


def linear(draw: Draw, amount: float) -> Work:
    """Return a linear layer with equal numbers of inputs, outputs and rows."""
    side = _side(amount)
    x, weight = draw(side, side), draw(side, side)
    return Work(partial(functional.linear, x, weight), 2.0 * side**3, 3 * x.nbytes)


def _side(amount: float) -> int:
    """Return the rows of square matrices with a product of `amount` FLOP: a multiple of 16, or of 64."""
    side = math.cbrt(amount / 2)
    step = 16 if side < 256 else 64
    return max(1, round(side / step)) * step


def conv3x3(draw: Draw, amount: float) -> Work:
    """Return a convolution of 128 channels of 28x28."""
    return _convolution(draw, amount, channels=128, side=28, kernel=3)


def conv1x1(draw: Draw, amount: float) -> Work:
    """Return a convolution of 256 channels of 56x56 with a 1x1 kernel."""
    return _convolution(draw, amount, channels=256, side=56, kernel=1)


def _convolution(draw: Draw, amount: float, channels: int, side: int, kernel: int) -> Work:
    """Return a convolution of a batch, or a smaller image; channels_last, so that nothing is reordered."""
    batch = int(amount / (2.0 * (channels * kernel * side) ** 2))
    if batch == 0:
        batch, side = 1, max(1, round(math.sqrt(amount / 2) / (channels * kernel)))
    form = torch.channels_last
    weight = draw(channels, channels, kernel, kernel).contiguous(memory_format=form)
    x = draw(batch, channels, side, side).contiguous(memory_format=form)
    call = partial(functional.conv2d, x, weight, padding=kernel // 2)
    return Work(call, 2.0 * batch * (channels * kernel * side) ** 2, 2 * x.nbytes + weight.nbytes)


PROBES = (matmul, linear, conv3x3, conv1x1)
HALF = (torch.bfloat16, torch.float16)


class Products:
    """Products of each kind in one number format. They start with the size reached before."""

    def __init__(self, clock: Clock, place: torch.device, dtype: torch.dtype, most: int) -> None:
        """Begin with the smallest size.

        Args:
            clock: times the calls.
            place: where they run.
            dtype: the number format.
            most: the most bytes for a call's tensors.
        """
        self._clock, self._place, self._dtype = clock, place, dtype
        self._amounts: dict[tuple[str, float], float] = {}
        self._most = most

    def best(self, long: float) -> tuple[float, str]:
        """Return the FLOP/s of the fastest kind, with about `long` seconds per call, and its name.

        They are 0 if torch has none here, or if the clock stands still.
        """
        found = (0.0, "")
        for probe in PROBES:
            key = probe.__name__, long
            make = partial(probe, Draw(self._place, self._dtype))
            try:
                begun = self._amounts.get(key, LEAST_FLOPS)
                work, seconds = enlarged(self._clock, make, begun, long, self._most)
            except RuntimeError:  # no kernel for it, or too little memory
                continue
            self._amounts[key] = work.amount
            if seconds > 0:
                found = max(found, (work.amount / seconds, probe.__name__))
        return found


def enlarged(
    clock: Clock, make: Callable[[float], Work], amount: float, long: float, most: int
) -> tuple[Work, float]:
    """Return work that takes about `long` seconds per call, and the seconds that it takes.

    No work is tried that would take longer at the previous one's speed per FLOP. Too little memory may limit
    the work.

    Args:
        clock: times the calls.
        make: creates work of about a number of FLOP.
        amount: the FLOP to begin with.
        long: seconds.
        most: the most bytes for its tensors.

    Raises:
        RuntimeError: not even the first can be done.
    """
    work = make(amount)
    seconds = _glance(clock, work.call, long)
    while 0 < seconds < ENOUGH * long:
        factor = min(GROWTH, long / seconds, most / work.size)
        try:
            larger = make(factor * work.amount)
            if larger.amount <= work.amount:
                break
            seconds, work = _glance(clock, larger.call, long), larger
        except RuntimeError:
            break
    return work, seconds


def _glance(clock: Clock, call: Callable[[], object], long: float) -> float:
    """Return the least seconds of a few calls: the first may prepare something, other work may slow one."""
    times: list[float] = []
    while len(times) < SAMPLES or (len(times) < GLANCES and sum(times) < TIME_TO_GLANCE * long):
        times.append(_least(clock, call, samples=1, calls=1))
    return min(times)


def memory_for_probes(device: Device) -> int:
    """Return the most bytes for a probe's tensors: of the device's own memory, or of the host's."""
    own = device.capacity()
    limits = (machine.memory(), cgroups.memory_limit()) if own is None else (own,)
    return int(min(filter(None, limits), default=UNKNOWN_MEMORY) * MOST_OF_MEMORY)


def largest(device: Device) -> int:
    """Return the bytes that the largest probe of memory reads and writes, most of which are not cached."""
    return max(LEAST_BYTES, min(device.uncached_bytes(), memory_for_probes(device)))


def bandwidths(clock: Clock, place: torch.device, most: int) -> Iterator[tuple[int, float]]:
    """Yield bytes read and written by a call, doubling each time, and the B/s of the faster of two calls.

    One copies half of them over the other half, the other only reads, which is faster if a cache reads a line
    before it is overwritten. If a call takes long, it is the largest.
    """
    for size in _doubled(LEAST_BYTES, most):
        whole = torch.ones(size // 4, dtype=torch.float32, device=place)
        source, target = whole.chunk(2)
        calls = (partial(target.copy_, source), whole.sum)
        seconds = [fastest(clock, call, LASTING["memory"]) for call in calls]
        if all(seconds):
            yield size, size / min(seconds)
        if max(seconds) >= ENOUGH * LONG:
            break


def evened(rates: Sequence[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """Return bandwidths by ascending bytes; fewer bytes take no longer than more bytes do."""
    found, least = [], math.inf
    for size, rate in reversed(rates):
        least = min(least, size / rate)
        found.append((size, size / least))
    return tuple(reversed(found))


def _doubled(least: int, most: int) -> Iterator[int]:
    """Yield numbers from the least to the most, each twice the previous one except the last."""
    while least < most:
        yield least
        least *= 2
    yield most


def call_of_nothing(clock: Clock, place: torch.device) -> float:
    """Return the seconds of a module's call on one number."""
    module, x = nn.ReLU(), torch.ones(1, dtype=torch.float32, device=place)
    return fastest(clock, partial(module, x), LASTING["call"])


def fastest(clock: Clock, call: Callable[[], object], lasting: float) -> float:
    """Return the least seconds of a call among `lasting` seconds of them; 0 if the clock stands still."""
    call()
    least = _least(clock, call, samples=1, calls=1)
    end = clock.now() + lasting
    while least > 0:
        calls = math.ceil(SHORT / least) if least < SHORT else 1
        least = min(least, _least(clock, call, SAMPLES, calls))
        if clock.now() >= end:
            break
    return least


def _least(clock: Clock, call: Callable[[], object], samples: int, calls: int) -> float:
    """Return the least of several samples of several calls, in seconds per call."""
    marks = [clock.mark()]
    for _ in range(samples):
        for _ in range(calls):
            call()
        marks.append(clock.mark())
    times = clock.seconds(marks)
    return min(later - earlier for earlier, later in pairwise(times)) / calls
