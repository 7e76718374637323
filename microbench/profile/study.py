"""A module's calls, their costs by their shapes, times and memory: as rows and as records."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from microbench.analysis.calls import Row, rows_of
from microbench.devices import Device, Level
from microbench.profile.calls import Call
from microbench.profile.timing import Passes
from microbench.records import record
from microbench.records.record import Kind


@dataclass(frozen=True)
class CallMemory:
    """Memory around a call, in bytes.

    Attributes:
        alloc: allocated by the call, and still allocated at its end.
        peak: the most allocated, above the level at its start.
        total: allocated at its end, above the level at the model's start.
    """

    alloc: int
    peak: int
    total: int


@dataclass(frozen=True)
class Study:
    """All that is known about a module's calls.

    Attributes:
        root: the calls, with their costs by their shapes.
        training: whether gradients were enabled, so that the backward pass was counted.
        times: samples in seconds, by call; None if nothing was timed.
        memory: the memory around each call; None if it was not tracked.
    """

    root: Call
    training: bool = False
    times: Mapping[Call, array[float]] | None = None
    memory: Mapping[Call, CallMemory] | None = None

    def calls(self, counted: bool = True) -> tuple[record.Call, ...]:
        """Return every call with all that is known about it; unless `counted`, only its times."""
        found, index = list[record.Call](), 0
        for order, (call, depth) in enumerate(self.root.walk()):
            is_row = call.kind is not Kind.CONTAINER
            found.append(
                record.Call(
                    name=call.name,
                    index=index if is_row else None,
                    order=order,
                    depth=depth,
                    kind=call.kind,
                    type=call.type,
                    in_shape=_text(call.in_shapes),
                    out_shape=_text(call.out_shapes),
                    dtype=call.dtype,
                    **(self._counts(call) if counted else {}),
                    times=[] if self.times is None else self.times[call].tolist(),
                )
            )
            index += is_row
        return tuple(found)

    def _counts(self, call: Call) -> dict[str, int | None]:
        found: dict[str, int | None] = {"params": parameters(call.module)}
        if call.kind is not Kind.CONTAINER:
            counts = call.counts
            found |= {name: getattr(counts, name) for name in ("flops", "macc", "mem_r", "mem_w")}
            found["backward"] = counts.backward if self.training else None
            found["unknown"] = counts.unknown or None
        if self.memory is not None:
            around = self.memory[call]
            found |= {"mem_alloc": around.alloc, "mem_peak": around.peak, "mem_total": around.total}
        return found

    def rows(self) -> list[Row]:
        """Return one row per call."""
        return rows_of(self.calls())


def _text(shapes: Sequence[torch.Size]) -> str:
    """Return shapes as text: `(1, 3, 224, 224)`, joined by commas."""
    return ", ".join(str(tuple(shape)) for shape in shapes)


def parameters(module: nn.Module | None) -> int:
    """Count the numbers in a module's parameters; a tensor that it has under two names counts once."""
    return 0 if module is None else sum(each.numel() for each in module.parameters())


def measure_memory(call: Callable[[], Any], root: Call, device: Device) -> dict[Call, CallMemory]:
    """Measure the memory around each of a module's calls.

    Args:
        call: calls the module.
        root: its calls, from a trace.
        device: the device where it runs.
    """
    passes = Passes(call, root)
    with device.ledger() as ledger:
        passes.step(ledger.note)
    levels = ledger.levels()
    start = levels[passes.borders[root][0]].allocated
    return {each: _memory(levels[first : last + 1], start) for each, (first, last) in passes.borders.items()}


def _memory(levels: Sequence[Level], start: int) -> CallMemory:
    """Return the memory around a call, given the levels from its start to its end."""
    before, after = levels[0].allocated, levels[-1].allocated
    peak = max(level.peak for level in levels[1:])
    return CallMemory(after - before, peak - before, after - start)
