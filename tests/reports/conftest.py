from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import asdict
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from microbench.config import Config, ModelConfig
from microbench.results.record import Caution, Outcome, Series, Status, StopReason, Summary, records_of
from microbench.results.result import Record
from microbench.schedule.cases import Case

MakeCase = Callable[..., list[Record]]
Interval = tuple[float, float | None]
"""A median and its interval's half-width, in seconds."""

ENVIRONMENT = {"cpu": "Some CPU", "physical_cores": 4, "torch": "2.9", "python": "3.12", "allocator": "glibc"}


def summary(median: float, half_width: float | None) -> Summary:
    low, high = (None, None) if half_width is None else (median - half_width, median + half_width)
    return Summary(40, median, low, high, 0.95, median, 0.1, median, median, median, median, None)


@pytest.fixture
def make_case() -> MakeCase:
    """Makes one case's records as a run would, from the median and half-width of each phase."""

    def make(
        phases: Mapping[str, Interval],
        model: str = "resnet18",
        mode: str = "train",
        order: int = 0,
        source: str = "torchvision",
        status: str = "ok",
        error: str | None = None,
        cautions: tuple[Caution, ...] = (),
        calls_per_sample: int = 1,
        peak_memory: int | None = 3 * 2**29,
        **settings: Any,
    ) -> list[Record]:
        config = Config(
            model=ModelConfig(
                source=source, name=model, input_shape=settings.pop("input_shape", [3, 224, 224])
            ),
            batch_size=settings.pop("batch_size", 8),
            threads=settings.pop("threads", 4),
            **settings,
        )
        config.mode.name, config.device.name = mode, "cpu"
        config.engine.name, config.precision.name, config.optimizer.name = "eager", "fp32", "sgd"
        case = Case(config, (), order)
        series = tuple(
            Series(phase, "fake", array("d"), array("d", [1.0] * 5), calls_per_sample, summary(*interval))
            for phase, interval in phases.items()
        )
        state = {"peak_memory": peak_memory}
        outcome = Outcome(Status(status), error, None, series, StopReason.REL_CI, cautions, {}, state)
        identity = {
            "run_id": "r",
            "round": 0,
            "order": order,
            **{f"cfg_{axis}": value for axis, value in case.axes().items()},
            "config": asdict(config),
            **{f"env_{name}": value for name, value in ENVIRONMENT.items()},
            "env_os": "Linux 6",
        }
        return records_of(outcome, identity)

    return make


@pytest.fixture
def rendered() -> Callable[..., list[str]]:
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
