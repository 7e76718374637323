"""What a module's calls are, what they cost on paper, and what they cost in fact: as rows and as records."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from microbench.devices import Device, Level
from microbench.measure.summary import summarize
from microbench.profile.calls import Call
from microbench.profile.timing import Passes
from microbench.results.layers import TIME, UNITS, Figures, Kind, Layer, Row, cost_of, rows_of
from microbench.results.record import Series


@dataclass(frozen=True)
class CallMemory:
    """Memory around a call, in bytes.

    Attributes:
        alloc: allocated by the call, and still allocated at its end.
        peak: allocated at most, over the level at its begin.
        total: allocated at its end, over the level at the model's begin.
    """

    alloc: int
    peak: int
    total: int


@dataclass(frozen=True)
class Study:
    """What is known of a module's calls.

    Attributes:
        root: the calls, with what they cost on paper.
        training: gradients were enabled, so that the backward pass was counted.
        times: by call, its samples; None where nothing was timed.
        memory: by call, the memory around it; None where it was not followed.
    """

    root: Call
    training: bool = False
    times: Mapping[Call, array[float]] | None = None
    memory: Mapping[Call, CallMemory] | None = None

    @property
    def phase(self) -> str:
        """What a call of the module is."""
        return phase_of(self.training)

    def layers(self) -> Iterator[tuple[Call, Layer]]:
        """Every call, and what its records call it."""
        index = 0
        for order, (call, depth) in enumerate(self.root.walk()):
            is_row = call.kind is not Kind.CONTAINER
            yield call, _layer(call, index if is_row else None, order, depth)
            index += is_row

    def figures(self, call: Call) -> Iterator[tuple[str, str, array[float]]]:
        """Phase, metric and samples of all that is known of a call."""
        phase = self.phase
        yield phase, "params", _once(parameters(call.module))
        if call.kind is not Kind.CONTAINER:
            counts = call.counts
            for metric in ("flops", "macc", "mem_r", "mem_w"):
                yield phase, metric, _once(getattr(counts, metric))
            if self.training:
                yield "backward", "flops", _once(counts.backward)
            if counts.unknown:
                yield phase, "unknown", _once(counts.unknown)
        if self.times is not None:
            yield phase, "lat", self.times[call]
        if self.memory is not None:
            for metric in ("alloc", "peak", "total"):
                yield phase, f"mem_{metric}", _once(getattr(self.memory[call], metric))

    def series(self, clock: str, counted: bool = True) -> list[Series]:
        """A series for each call and all that is known of it; unless `counted`, its times alone."""
        return [
            Series(
                phase,
                clock if metric == TIME else "",
                samples,
                summary=summarize(samples),
                sampled=metric == TIME,
                metric=metric,
                unit=UNITS[metric],
                layer=layer,
            )
            for call, layer in self.layers()
            for phase, metric, samples in self.figures(call)
            if counted or metric == TIME
        ]

    def rows(self) -> list[Row]:
        """A row for each call."""
        return rows_of([self._of(call, layer) for call, layer in self.layers()])

    def _of(self, call: Call, layer: Layer) -> Figures:
        counted = {
            cost_of(phase, metric): samples[0]
            for phase, metric, samples in self.figures(call)
            if metric != TIME
        }
        return Figures(layer, counted, () if self.times is None else self.times[call])


def phase_of(training: bool) -> str:
    """The phase that is profiled."""
    return "forward" if training else "inference"


def _once(value: int) -> array[float]:
    return array("d", [float(value)])


def _layer(call: Call, index: int | None, order: int, depth: int) -> Layer:
    shapes = _text(call.in_shapes), _text(call.out_shapes)
    return Layer(call.name, index, order, depth, call.kind, call.type, *shapes, call.dtype)


def _text(shapes: Sequence[torch.Size]) -> str:
    """Shapes as text: `(1, 3, 224, 224)`, joined by commas."""
    return ", ".join(str(tuple(shape)) for shape in shapes)


def parameters(module: nn.Module | None) -> int:
    """How many numbers a module's parameters hold; one that it has under two names counts once."""
    return 0 if module is None else sum(each.numel() for each in module.parameters())


def measure_memory(call: Callable[[], Any], root: Call, device: Device) -> dict[Call, CallMemory]:
    """The memory around each of a module's calls.

    Args:
        call: calls the module.
        root: its calls, as a trace found them.
        device: where it runs.
    """
    passes = Passes(call, root)
    with device.ledger() as ledger:
        passes.step(ledger.note)
    levels = ledger.levels()
    start = levels[passes.borders[root][0]].allocated
    return {each: _memory(levels[first : last + 1], start) for each, (first, last) in passes.borders.items()}


def _memory(levels: Sequence[Level], start: int) -> CallMemory:
    """The memory around a call, of the levels from its begin to its end."""
    before, after = levels[0].allocated, levels[-1].allocated
    peak = max(level.peak for level in levels[1:])
    return CallMemory(after - before, peak - before, after - start)
