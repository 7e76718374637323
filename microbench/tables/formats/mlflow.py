"""MLflow's tracking store: a run per case, with its options as parameters and its records as an artifact."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from microbench.analysis.timings import Timing, Timings
from microbench.distribution import install_line
from microbench.errors import UserError, first_line
from microbench.records.cases import CaseResult
from microbench.records.record import encode
from microbench.records.store import FILE_NAME
from microbench.tables.formats import began, case_titles, texts
from microbench.tables.labels import count

FACTS = ("cpu", "gpu", "os", "python", "torch", "microbench", "git", "host_id")
"""The facts on the machine that are tags of a run."""


def log(found: Timings, uri: str | None, experiment: str) -> str:
    """Log each case as a finished run of an experiment, which is made if it is missing; say where.

    Args:
        found: the times, in seconds.
        uri: the tracking store, such as `sqlite:///mlflow.db`; None for MLflow's own default.
        experiment: the experiment's name.

    Raises:
        UserError: MLflow is not installed, or its store cannot be used.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError as error:
        raise UserError(f"MLflow cannot be imported ({error}): {install_line('mlflow')}") from error
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)  # MLflow reports each step of making a database
    try:
        client = MlflowClient(uri)
        known = client.get_experiment_by_name(experiment)
        place = client.create_experiment(experiment) if known is None else known.experiment_id
        for title, case in zip(case_titles(found.cases), found.cases, strict=True):
            _log_case(client, place, title, case, [each for each in found.timings if each.case is case])
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise UserError(f"MLflow cannot log to {uri or 'its default store'}: {first_line(error)}") from error
    return f"{count(len(found.cases), 'run')} in experiment {experiment!r} of {client.tracking_uri}"


def _log_case(client: Any, experiment: str, title: str, case: CaseResult, timings: list[Timing]) -> None:
    from mlflow.entities import Metric, Param, RunTag

    records = list(case.rounds.values())
    begin = began(records[0])
    end = began(records[-1]) + timedelta(seconds=records[-1].seconds or 0.0)
    start, stop = (round(each.timestamp() * 1000) for each in (begin, end))
    run = client.create_run(experiment, start_time=start, run_name=title).info.run_id
    tags = texts(
        [
            *((name, getattr(case.machine, name)) for name in FACTS),
            *(("case_id", case.spec.id), ("run_id", case.run.id), ("command", case.spec.command)),
        ]
    )
    metrics = {name: value for name, value in _metrics(case, timings) if value is not None}
    client.log_batch(
        run,
        metrics=[Metric(name, value, start, 0) for name, value in metrics.items()],
        params=[Param(name, value) for name, value in texts(case.axes.items()).items()],
        tags=[RunTag(f"microbench.{name}", value) for name, value in tags.items()],
    )
    lines = b"".join(encode(each) + b"\n" for each in records)
    client.log_text(run, lines.decode(), FILE_NAME)
    client.set_terminated(run, end_time=stop)


def _metrics(case: CaseResult, timings: list[Timing]) -> Iterator[tuple[str, float | None]]:
    """Yield the metrics of a case; their names have the unit."""
    for timing in timings:
        estimate = timing.estimate
        yield f"{timing.phase}_s", estimate.median
        yield f"{timing.phase}_ci_low_s", estimate.low
        yield f"{timing.phase}_ci_high_s", estimate.high
        yield f"{timing.phase}_{case.item}_per_s", case.throughput(estimate)
    yield "rounds", len(case.counted)
    yield "peak_memory_bytes", case.peak_memory
    yield "error_rel", case.check.error_rel
