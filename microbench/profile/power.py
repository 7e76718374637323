"""The energy that a call uses, if the device measures it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from microbench.devices import Device

LASTING = 1.0  # seconds of calls: the counters change about once per millisecond


def joules_per_call(call: Callable[[], Any], device: Device) -> float | None:
    """Return the mean joules per call over a second of calls; None if the device cannot tell."""
    with device.energy() as meter:
        pass
    if meter.joules is None:
        return None
    clock, calls = device.clock, 0
    start = clock.now()
    with device.energy() as meter:
        while clock.now() - start < LASTING:
            begun = clock.mark()
            call()
            clock.seconds([begun, clock.mark()])
            calls += 1
    return None if meter.joules is None else meter.joules / calls
