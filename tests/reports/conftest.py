from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from microbench.config import Config, ModelConfig
from microbench.measure.summary import summarize
from microbench.results.record import (
    Caution,
    Check,
    Outcome,
    Record,
    Series,
    Status,
    StopReason,
    Summary,
    records_of,
    with_check,
)
from microbench.schedule.cases import Case

from .support import Interval, MakeCase, Rendered

ENVIRONMENT = {"cpu": "Some CPU", "physical_cores": 4, "torch": "2.9", "python": "3.12", "os": "Linux 6"}


def summary(median: float, half_width: float | None) -> Summary:
    """The summary of forty samples with this median and interval."""
    low, high = (None, None) if half_width is None else (median - half_width, median + half_width)
    return replace(summarize([median] * 40), ci_low=low, ci_high=high)


@pytest.fixture
def make_case() -> MakeCase:
    """Makes one round's records as a run would, from the median and half-width of each phase."""

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
        cautions: tuple[Caution, ...] = (),
        stop_reason: StopReason = StopReason.REL_CI,
        calls_per_sample: int = 1,
        warmup: int = 5,
        peak_memory: int | None = 3 * 2**29,
        malloc: str = "glibc",
        check: Check | None = None,
        env: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> list[Record]:
        shape, dtype = settings.pop("input_shape", [3, 224, 224]), settings.pop("input_dtype", "float32")
        engine, precision = settings.pop("engine", "eager"), settings.pop("precision", "fp32")
        config = Config(
            model=ModelConfig(source=source, name=model, input_shape=shape, input_dtype=dtype),
            batch_size=settings.pop("batch_size", 8),
            threads=settings.pop("threads", 4),
            **settings,
        )
        config.mode.name, config.device.name = mode, "cpu"
        config.engine.name, config.optimizer.name = engine, "sgd"
        config.precision.name = precision
        config.measure.rounds = rounds
        case = Case(config, (), order, round)
        times, warm = array("d", [1.0] * 40), array("d", [1.0] * warmup)
        series = tuple(
            Series(phase, "fake", times, warm, calls_per_sample, summary(*interval))
            for phase, interval in phases.items()
        )
        state = {"peak_memory": peak_memory}
        outcome = Outcome(Status(status), error, None, series, stop_reason, cautions, {}, state)
        if check is not None:
            outcome = with_check(outcome, check)
        identity = {
            "run_id": "r",
            "host_id": "h",
            "case_id": case.id,
            "started_at": f"{order} {round}",
            "round": round,
            "order": order,
            **{f"cfg_{axis}": value for axis, value in case.axes().items()},
            "config": asdict(config),
            **{f"env_{name}": value for name, value in ENVIRONMENT.items()},
            "env_allocator": malloc,
            **{f"env_{name}": value for name, value in (env or {}).items()},
        }
        return records_of(outcome, identity)

    return make


@pytest.fixture
def rendered() -> Rendered:
    """Prints what is given on a console of some width, and returns the lines."""

    def render(*things: Any, width: int = 300, using: Callable[[Console], None] | None = None) -> list[str]:
        file = StringIO()
        out = Console(file=file, width=width, highlight=False, force_terminal=False)
        if using is not None:
            using(out)
        for thing in things:
            out.print(thing)
        return [line.rstrip() for line in file.getvalue().splitlines()]

    return render
