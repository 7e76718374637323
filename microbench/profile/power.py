"""The energy that a call uses, if the device measures it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from microbench.devices import Device
from microbench.measure.energy import IDLE, LONGEST, energy_per_call
from microbench.measure.experiment import Mark, Marker

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


def joules_by_counter(call: Callable[[], Any], device: Device, typical: float) -> float | None:
    """Return the same, by the device's counter if it has one: there a run measures it beside its samples.

    Args:
        call: does the work.
        device: where it runs.
        typical: seconds that a call takes.
    """

    def step(mark: Marker, calls: int) -> tuple[Mark, Mark]:
        start = mark()
        call()
        return start, mark()

    with device.counter() as counter:
        if counter is None:
            return joules_per_call(call, device)
        return energy_per_call(step, device.clock, counter, typical, IDLE + LONGEST).joules
