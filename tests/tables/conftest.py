from __future__ import annotations

from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any

import pytest
from factory import checked, configured, record_of, series_of, split
from msgspec.structs import replace
from rich.console import Console

from microbench.config import ModelConfig
from microbench.records.record import (
    BenchmarkWarning,
    Check,
    Outcome,
    RoundRecord,
    Status,
    StopReason,
    Summary,
)
from microbench.records.summary import summarize
from microbench.verify.judging import Checked

from .support import Interval, MakeCase, Rendered


def summary(median: float, half_width: float | None) -> Summary:
    """Return the summary of forty samples with this median and interval."""
    low, high = (None, None) if half_width is None else (median - half_width, median + half_width)
    return replace(summarize([median] * 40), ci_low=low, ci_high=high)


@pytest.fixture
def make_case() -> MakeCase:
    """Return a function that makes one round's record, from the median and half-width of each phase."""

    def make(
        phases: Mapping[str, Interval],
        model: str = "resnet18",
        mode: str = "train",
        order: int = 0,
        round: int = 0,  # noqa: A002 - the field's name
        rounds: int = 1,
        source: str = "torchvision",
        status: str = "ok",
        error: str | None = None,
        warnings: tuple[BenchmarkWarning, ...] = (),
        stop_reason: StopReason | None = StopReason.REL_CI,
        calls_per_sample: int = 1,
        warmup: int = 5,
        peak_memory: int | None = 3 * 2**29,
        check: Check | Checked | None = None,
        env: Mapping[str, Any] | None = None,
        part: str | None = None,
        **settings: Any,
    ) -> list[RoundRecord]:
        shape, dtype = settings.pop("input_shape", [3, 224, 224]), settings.pop("input_dtype", "float32")
        config = configured(
            model=ModelConfig(source=source, name=model, input_shape=shape, input_dtype=dtype, part=part),
            mode=mode,
            measure__rounds=rounds,
            **{"threads": 4} | settings,
        )
        machine, process = split({"allocator": "glibc", "threads": config.threads} | dict(env or {}))
        outcome = Outcome(
            status=Status(status),
            error=error,
            stop_reason=stop_reason,
            warnings=warnings,
            peak_memory=peak_memory,
            process=process,
        )
        if check is not None:
            outcome = checked(check).applied(outcome)
        series = {
            phase: series_of(
                phase,
                [1.0] * 40,
                summary(*interval),
                warmup=[1.0] * warmup,
                calls_per_sample=calls_per_sample,
            )
            for phase, interval in phases.items()
        }
        return [record_of(series, config, order=order, round=round, machine=machine, outcome=outcome)]

    return make


@pytest.fixture
def rendered() -> Rendered:
    """Return a function that prints on a console of some width, and returns the lines."""

    def render(*things: Any, width: int = 300, using: Callable[[Console], None] | None = None) -> list[str]:
        file = StringIO()
        out = Console(file=file, width=width, highlight=False, force_terminal=False)
        if using is not None:
            using(out)
        for thing in things:
            out.print(thing)
        return [line.rstrip() for line in file.getvalue().splitlines()]

    return render
