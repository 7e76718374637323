"""The clocks of a GPU's series, by their names in records, and what their figures are."""

from __future__ import annotations

from collections.abc import Sequence

from microbench.records.record import Role, Series

EVENTS = "cuda_event"
"""Events on the stream, of steps that are set ahead of it."""

BACKLOG = "cuda_event_backlog"
"""Events on a stream that is held back until all of a sample's work is in its queue."""

STEP = "synchronized_step"
"""The host's clock, after a wait for the GPU before and after each step."""

PHASE = "synchronized_phase"
"""The host's clock, after a wait for the GPU at each border of a phase."""

LAUNCH = "launch"
"""The host's clock, without a wait for the GPU."""

FIGURES = {
    EVENTS: "stream time",
    BACKLOG: "device time",
    STEP: "latency",
    PHASE: "latency by phase",
    LAUNCH: "launch cost",
}
"""The name of what each of them reads."""

DEVICE = "device"
"""The series of a whole step's device time beside its stream time."""

HOST = "launch"
"""The series of the host's time to launch a whole step, beside its device time."""

BUSY = 0.9
"""The device's share of the stream's time from which the host is fast enough."""


def device_share(series: Sequence[Series]) -> float | None:
    """Return the share of a whole step's stream time in which the device is busy; None if it is not known."""
    medians = {each.phase: each.summary.median for each in series if each.summary is not None}
    whole = next((each for each in series if each.role is Role.WHOLE and each.clock == EVENTS), None)
    if whole is None or DEVICE not in medians or not medians.get(whole.phase):
        return None
    return medians[DEVICE] / medians[whole.phase]


def is_bound_by_device(series: Sequence[Series]) -> bool:
    """Return whether the times of a round are the device's: the host's speed does not matter to them."""
    if any(each.role is Role.WHOLE and each.clock == BACKLOG for each in series):
        return True
    share = device_share(series)
    return share is not None and share >= BUSY
