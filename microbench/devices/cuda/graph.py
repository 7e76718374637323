"""CUDA graphs: the work of a call, captured once and launched as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from microbench.errors import SkippedError, first_line
from microbench.measure.experiment import Marker, no_mark

Result = TypeVar("Result")

REHEARSALS = 3
"""Calls on a stream of their own before the capture, in which libraries allocate what they need."""


def captured(work: Callable[[Marker], Result]) -> Callable[[], Result]:
    """Capture the work of a call in a CUDA graph; return a function that launches it.

    Results are the same tensors each time, with new values.

    Args:
        work: the work, which gets a function that sets a mark: an event that the graph records.

    Raises:
        SkippedError: it cannot be captured, for example because it waits for the GPU.
    """
    cuda: Any = torch.cuda
    current, side = cuda.current_stream(), cuda.Stream()
    side.wait_stream(current)
    with cuda.stream(side):
        for _ in range(REHEARSALS):
            work(no_mark)
    current.wait_stream(side)
    graph = cuda.CUDAGraph()
    try:
        with cuda.graph(graph):
            result = work(_mark)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise SkippedError(
            f"the work cannot be captured in a CUDA graph: {first_line(error)}; leave out device.cuda_graph"
        ) from error

    def replay() -> Result:
        graph.replay()
        return result

    return replay


def _mark() -> Any:
    """Let the graph record an event.

    Raises:
        SkippedError: this torch has no events that a graph records.
    """
    event: Any = torch.cuda.Event
    try:
        mark = event(enable_timing=True, external=True)
    except TypeError as error:
        raise SkippedError(
            f"torch {torch.__version__} has no events within CUDA graphs, which the phases of training need: "
            "leave out device.cuda_graph, or use a newer torch"
        ) from error
    mark.record()
    return mark
