"""What this machine reaches at best: arithmetic, traffic of memory, and a call of nothing. Measured once."""

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
from microbench.system import cgroups, cpus, machine
from microbench.system.sensors import Sensors

METHOD = 4  # raised when peaks are measured in another way: what was kept before is then measured again
LONG = 0.05  # seconds of a call: work is enlarged until it takes about as long
BRIEF = 0.002  # the same of a format that may be emulated, until it is known not to be
ENOUGH = 0.5  # of that: work that takes so long is enlarged no more
GROWTH = 4.0  # at most so many times the work at once: a larger product may take longer for each FLOP
SLOWER = 0.5  # of the FLOP/s in fp32: a 16-bit format that reaches no more is emulated
LEAST_FLOPS = 2**18  # of the first product: next to no time, however slow a format is
LEAST_BYTES = 2**18  # of a probe of memory; less of it takes no time against a call's own
LASTING = {"memory": 0.01, "call": 0.03}  # seconds that a probe repeats its work
PASSES = 3  # over all probes: what disturbs one seldom does in each
LONGEST = 4.0  # seconds after which no other pass begins
SAMPLES = 3  # between two looks at the time
GLANCES = 8  # calls of a probe, at most
TIME_TO_GLANCE = 4.0  # times what a call is to take: after that, there are no more than SAMPLES
SHORT = 2e-5  # seconds: shorter calls are timed several at once
CACHES = 4  # so many times the last level of cache is read and written at last: little of it is in there
MOST_OF_MEMORY = 1 / 8  # for the tensors of a probe
UNKNOWN_MEMORY = 8 * 2**30  # bytes to assume of the memory where the kernel does not say
PERIOD = 2**20 - 3  # drawn numbers, which are repeated; a prime, so that no two rows are alike
PASSING = {WarningCode.FOREIGN_LOAD, WarningCode.STOLEN, WarningCode.THROTTLED, WarningCode.THERMAL}
"""What makes peaks lower than they are at other times."""


def peaks(device: Device, refresh: bool = False) -> Peaks:
    """What the device reaches at best with torch's present threads, measured or as measured before.

    Takes some six seconds the first time; then it is read from a file, see `kept`. What was measured while
    other work disturbed it is not kept.

    Args:
        device: where; in the state that the run has it in.
        refresh: measure again.
    """
    identity = identity_of(device)
    found = None if refresh else peaks_cache.read(identity)
    if found is None:
        found = measure(device)
        if not found.disturbed:
            peaks_cache.write(identity, found)
    return found


def identity_of(device: Device) -> Mapping[str, str | int | float | bool | None]:
    """What peaks depend on: whoever differs in it has its own."""
    return {
        "method": METHOD,
        "host_id": machine.host_id(),
        "cpu": machine.cpu_model(),
        "device": device.name,
        **device.describe(),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "cpus": cpus.text(cpus.usable()),
        "cpu_quota": cgroups.cpu_quota(),
        "mkldnn": bool(torch.backends.mkldnn.enabled),
        **devices.fp32_products(),
    }


def measure(device: Device) -> Peaks:
    """Measure all peaks; the fastest of many calls of each probe, for a peak is no typical value."""
    place = device.torch_device()
    with torch.inference_mode(), torch.autocast(place.type, enabled=False), Sensors() as sensors:
        found = reduce(Peaks.best, _passes(device))
    torch.accelerator.empty_cache()  # gigabytes, which nobody needs any more
    return replace(found, bandwidths=evened(found.bandwidths), disturbed=disturbed(sensors))


def disturbed(sensors: Sensors) -> bool:
    """Whether something that passes kept this process from its best."""
    around = sensors.surroundings(torch.get_num_threads(), machine.allocator())
    return any(each.code in PASSING for each in disturbances(sensors.readings(calls=1), around))


def _passes(device: Device) -> Iterator[Peaks]:
    """Several looks at every peak; fewer where one takes long."""
    clock, place = device.clock, device.torch_device()
    products = {dtype: Products(clock, place, dtype) for dtype in (torch.float32, *HALF)}
    end = clock.now() + LONGEST
    for _ in range(PASSES):
        yield _pass(products, device)
        if clock.now() >= end:
            break


def _pass(products: Mapping[torch.dtype, Products], device: Device) -> Peaks:
    """One look at every peak; at length in those formats alone that are not emulated."""
    clock, place = device.clock, device.torch_device()
    slow = emulated(products, device.name)
    fp32, fp32_by = products[torch.float32].best(LONG)
    bf16, bf16_by = (0.0, "") if torch.bfloat16 in slow else products[torch.bfloat16].best(LONG)
    return Peaks(
        fp32=fp32 or None,
        bf16=bf16 or None,
        fp32_by=fp32_by,
        bf16_by=bf16_by,
        bandwidths=tuple(bandwidths(clock, place, largest(device.cache()))),
        call_seconds=call_of_nothing(clock, place),
        emulated=tuple(
            (name_of(each), max(rate, products[each].best(BRIEF)[0])) for each, rate in slow.items()
        ),
    )


def emulated(products: Mapping[torch.dtype, Products], device: str) -> dict[torch.dtype, float]:
    """The 16-bit formats that the hardware converts to fp32, as is known or shown by their FLOP/s, and these.

    Brief products tell, in one thread: threads that wait for each other show what else runs on the machine.
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
    """A format's name, such as `bfloat16`."""
    return str(dtype).removeprefix("torch.")


@dataclass(frozen=True)
class Work:
    """One call of a probe.

    Attributes:
        call: does it.
        amount: how much it is, in FLOP or B.
        size: the bytes of its tensors.
    """

    call: Callable[[], object]
    amount: float
    size: int


class Draw:
    """Makes random tensors, from numbers of its own: torch's stay where they are.

    Constant ones would not do: what numbers a GPU multiplies changes the power it takes, and by that its
    speed.
    """

    def __init__(self, place: torch.device, dtype: torch.dtype) -> None:
        self._generator = torch.Generator(place).manual_seed(0)
        self._place, self._dtype = place, dtype

    def __call__(self, *shape: int) -> Tensor:
        """A tensor of that shape, of normally distributed numbers."""
        count = math.prod(shape)
        drawn = torch.randn(
            min(count, PERIOD), generator=self._generator, device=self._place, dtype=torch.float32
        )
        return drawn.to(self._dtype).repeat(math.ceil(count / PERIOD))[:count].view(shape)


def matmul(draw: Draw, amount: float) -> Work:
    """The product of two square matrices."""
    side = _side(amount)
    a, b = draw(side, side), draw(side, side)
    out = torch.empty_like(a)
    return Work(partial(torch.mm, a, b, out=out), 2.0 * side**3, 3 * a.nbytes)


def linear(draw: Draw, amount: float) -> Work:
    """A layer of as many outputs as inputs, for as many rows."""
    side = _side(amount)
    x, weight = draw(side, side), draw(side, side)
    return Work(partial(functional.linear, x, weight), 2.0 * side**3, 3 * x.nbytes)


def _side(amount: float) -> int:
    """The rows of square matrices whose product is about so many FLOP: a multiple of 16, large ones of 64."""
    side = math.cbrt(amount / 2)
    step = 16 if side < 256 else 64
    return max(1, round(side / step)) * step


def conv3x3(draw: Draw, amount: float) -> Work:
    """A convolution of 128 channels of 28x28."""
    return _convolution(draw, amount, channels=128, side=28, kernel=3)


def conv1x1(draw: Draw, amount: float) -> Work:
    """A convolution of 256 channels of 56x56, each pixel by itself."""
    return _convolution(draw, amount, channels=256, side=56, kernel=1)


def _convolution(draw: Draw, amount: float, channels: int, side: int, kernel: int) -> Work:
    """Of a batch, or of a smaller image; in channels_last, in which oneDNN and cuDNN reorder nothing."""
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
    """Products of each kind in one number format. What they were enlarged to is where they begin again."""

    def __init__(self, clock: Clock, place: torch.device, dtype: torch.dtype) -> None:
        self._clock, self._place, self._dtype = clock, place, dtype
        self._amounts: dict[tuple[str, float], float] = {}
        self._most = memory_for_probes()

    def best(self, long: float) -> tuple[float, str]:
        """The FLOP/s of the fastest kind, a call taking about `long` seconds, and its name.

        0 where torch has none here, or the clock stands still.
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
    """Work that takes about `long` seconds a call, and the seconds that it takes.

    None is begun that would take longer, were it as fast for each FLOP as the one before; it may be less
    where there is too little memory for more.

    Args:
        clock: times the calls.
        make: makes work of about so many FLOP.
        amount: the FLOP to begin with.
        long: seconds.
        most: bytes that its tensors may take.

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
    """The least seconds of a few calls: the first may prepare something, other work may prolong one."""
    times: list[float] = []
    while len(times) < SAMPLES or (len(times) < GLANCES and sum(times) < TIME_TO_GLANCE * long):
        times.append(_least(clock, call, samples=1, calls=1))
    return min(times)


def memory_for_probes() -> int:
    """The bytes that the tensors of a probe may take."""
    limits = [size for size in (machine.memory(), cgroups.memory_limit()) if size]
    return int(min(limits, default=UNKNOWN_MEMORY) * MOST_OF_MEMORY)


def largest(cache: int) -> int:
    """The bytes that the last probe of memory reads and writes: most of them cannot lie in the cache."""
    return max(LEAST_BYTES, min(CACHES * cache, memory_for_probes()))


def bandwidths(clock: Clock, place: torch.device, most: int) -> Iterator[tuple[int, float]]:
    """Bytes read and written by a call, twice as many each time, and the B/s of the fastest way to do so.

    One copies half of them over the other half, and one only reads: where a cache reads a line before it is
    overwritten, that is faster. Where a call takes long, there is no larger one.
    """
    for size in _doubled(LEAST_BYTES, most):
        whole = torch.ones(size // 4, dtype=torch.float32, device=place)
        source, target = whole.chunk(2)
        ways = (partial(target.copy_, source), whole.sum)
        seconds = [fastest(clock, call, LASTING["memory"]) for call in ways]
        if all(seconds):
            yield size, size / min(seconds)
        if max(seconds) >= ENOUGH * LONG:
            break


def evened(rates: Sequence[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """Bandwidths by ascending bytes, each as fast as a larger one shows: who can move more can move less."""
    found, least = [], math.inf
    for size, rate in reversed(rates):
        least = min(least, size / rate)
        found.append((size, size / least))
    return tuple(reversed(found))


def _doubled(least: int, most: int) -> Iterator[int]:
    """Numbers from the least to the most, each twice the one before but the last."""
    while least < most:
        yield least
        least *= 2
    yield most


def call_of_nothing(clock: Clock, place: torch.device) -> float:
    """The seconds that a module takes to be called on one number."""
    module, x = nn.ReLU(), torch.ones(1, dtype=torch.float32, device=place)
    return fastest(clock, partial(module, x), LASTING["call"])


def fastest(clock: Clock, call: Callable[[], object], lasting: float) -> float:
    """The least seconds that a call takes among many that last so long; 0 on a clock that stands still."""
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
    """The least of so many samples of so many calls, in seconds per call."""
    marks = [clock.mark()]
    for _ in range(samples):
        for _ in range(calls):
            call()
        marks.append(clock.mark())
    times = clock.seconds(marks)
    return min(later - earlier for earlier, later in pairwise(times)) / calls
