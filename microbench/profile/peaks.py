"""What this machine reaches at best: arithmetic, traffic of memory, and a call of nothing. Measured once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from microbench import devices
from microbench.devices import Device
from microbench.measure.disturbances import disturbances
from microbench.measure.experiment import Clock
from microbench.metrics import cgroups, cpus, machine
from microbench.metrics.sensors import Sensors
from microbench.profile import kept
from microbench.results.record import WarningCode
from microbench.results.roofline import Peaks

METHOD = 3  # raised when peaks are measured in another way: what was kept before is then measured again
LONG = 2e-3  # seconds of a call: work is enlarged until it takes as long, to be long against what begins it
LASTING = {"arithmetic": 0.03, "memory": 0.01, "call": 0.03}  # seconds that a probe repeats its work
PASSES = 3  # over all probes: what disturbs one seldom does in each
LONGEST = 4.0  # seconds after which no other pass begins
SAMPLES = 3  # between two looks at the time
SIDES = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)  # rows and columns of products
BATCHES = (1, 4, 16, 64, 256, 1024)  # images of convolutions: the last are 6 GB, input and output, in fp32
SHORT = 2e-5  # seconds: shorter calls are timed several at once
LEAST_BYTES = 2**18  # of a probe of memory; less of it takes no time against a call's own
CACHES = 4  # so many times the last level of cache is read and written at last: little of it is in there
MOST_OF_MEMORY = 1 / 8  # for the buffer of that
PASSING = {WarningCode.FOREIGN_LOAD, WarningCode.STOLEN, WarningCode.THROTTLED, WarningCode.THERMAL}
"""What makes peaks lower than they are at other times."""


def peaks(device: Device, refresh: bool = False) -> Peaks:
    """What the device reaches at best with torch's present threads, measured or as measured before.

    Takes some three seconds the first time; then it is read from a file, see `kept`. What was measured while
    other work disturbed it is not kept.

    Args:
        device: where; in the state that the run has it in.
        refresh: measure again.
    """
    identity = identity_of(device)
    found = None if refresh else kept.read(identity)
    if found is None:
        found = measure(device)
        if not found.disturbed:
            kept.write(identity, found)
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
        found = reduce(Peaks.best, _passes(device.clock, place, device.cache()))
    torch.accelerator.empty_cache()  # gigabytes, which nobody needs any more
    return replace(found, bandwidths=evened(found.bandwidths), disturbed=disturbed(sensors))


def disturbed(sensors: Sensors) -> bool:
    """Whether something that passes kept this process from its best."""
    around = sensors.surroundings(torch.get_num_threads(), machine.allocator())
    return any(each.code in PASSING for each in disturbances(sensors.readings(calls=1), around))


def _passes(clock: Clock, place: torch.device, cache: int) -> Iterator[Peaks]:
    """Several looks at every peak; fewer where one takes long."""
    end = clock.now() + LONGEST
    for _ in range(PASSES):
        yield _pass(clock, place, cache)
        if clock.now() >= end:
            break


def _pass(clock: Clock, place: torch.device, cache: int) -> Peaks:
    """One look at every peak."""
    fp32, fp32_by = arithmetic(clock, place, torch.float32)
    bf16, bf16_by = arithmetic(clock, place, torch.bfloat16)
    rates = tuple(bandwidths(clock, place, largest(cache)))
    return Peaks(fp32, bf16, fp32_by, bf16_by, rates, call_of_nothing(clock, place))


@dataclass(frozen=True)
class Work:
    """One call of a probe.

    Attributes:
        call: does it.
        amount: how much it is, in FLOP or B.
    """

    call: Callable[[], object]
    amount: float


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
        drawn = torch.randn(shape, generator=self._generator, device=self._place, dtype=torch.float32)
        return drawn.to(self._dtype)


def matmul(draw: Draw) -> Iterator[Work]:
    """Products of square matrices."""
    for side in SIDES:
        a, b = draw(side, side), draw(side, side)
        out = torch.empty_like(a)
        yield Work(partial(torch.mm, a, b, out=out), 2.0 * side**3)


def linear(draw: Draw) -> Iterator[Work]:
    """Layers of as many outputs as inputs, for as many rows."""
    for side in SIDES:
        x, weight = draw(side, side), draw(side, side)
        yield Work(partial(functional.linear, x, weight), 2.0 * side**3)


def conv3x3(draw: Draw) -> Iterator[Work]:
    """Convolutions of 128 channels of 28x28."""
    yield from _convolutions(draw, channels=128, side=28, kernel=3)


def conv1x1(draw: Draw) -> Iterator[Work]:
    """Convolutions of 256 channels of 56x56, each pixel by itself."""
    yield from _convolutions(draw, channels=256, side=56, kernel=1)


def _convolutions(draw: Draw, channels: int, side: int, kernel: int) -> Iterator[Work]:
    """Of growing batches; in channels_last, in which oneDNN and cuDNN reorder nothing."""
    form = torch.channels_last
    weight = draw(channels, channels, kernel, kernel).contiguous(memory_format=form)
    for batch in BATCHES:
        x = draw(batch, channels, side, side).contiguous(memory_format=form)
        amount = 2.0 * batch * (channels * kernel * side) ** 2
        yield Work(partial(functional.conv2d, x, weight, padding=kernel // 2), amount)


PROBES = (matmul, linear, conv3x3, conv1x1)


def arithmetic(clock: Clock, place: torch.device, dtype: torch.dtype) -> tuple[float | None, str]:
    """The FLOP/s of the fastest kind of product, and its name; None where torch has none here."""
    best, by = 0.0, ""
    for probe in PROBES:
        try:
            rate = _rate(clock, _long_enough(clock, probe(Draw(place, dtype))), LASTING["arithmetic"])
        except RuntimeError:  # no kernel for it, or too little memory
            continue
        if rate is not None and rate > best:
            best, by = rate, probe.__name__
    return best or None, by


def _long_enough(clock: Clock, works: Iterator[Work]) -> Work:
    """The first work whose call takes long, or the last that there is memory for.

    Raises:
        RuntimeError: not even the first can be done.
    """
    found: Work | None = None
    try:
        for work in works:
            work.call()  # some prepare at the first call
            seconds = _least(clock, work.call, SAMPLES, calls=1)  # other work may prolong one
            found = work
            if not 0 < seconds < LONG:
                break
    except RuntimeError:
        if found is None:
            raise
    assert found is not None
    return found


def largest(cache: int) -> int:
    """The bytes that the last probe of memory reads and writes: most of them cannot lie in the cache."""
    limits = [size for size in (machine.memory(), cgroups.memory_limit()) if size]
    most = int(min(limits, default=8 * CACHES * cache) * MOST_OF_MEMORY)
    return max(LEAST_BYTES, min(CACHES * cache, most))


def bandwidths(clock: Clock, place: torch.device, most: int) -> Iterator[tuple[int, float]]:
    """Bytes read and written by a call, twice as many each time, and the B/s of the fastest way to do so.

    One copies half of them over the other half, and one only reads: where a cache reads a line before it is
    overwritten, that is faster.
    """
    buffer = torch.ones(most // 4, dtype=torch.float32, device=place)
    for size in _doubled(LEAST_BYTES, most):
        whole = buffer[: size // 4]
        source, target = whole.chunk(2)
        ways = (partial(target.copy_, source), whole.sum)
        rates = [_rate(clock, Work(call, size), LASTING["memory"]) for call in ways]
        if rate := max((each for each in rates if each is not None), default=None):
            yield size, rate


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


def _rate(clock: Clock, work: Work, lasting: float) -> float | None:
    """Work per second at best; None on a clock that stood still."""
    seconds = fastest(clock, work.call, lasting)
    return work.amount / seconds if seconds > 0 else None


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
