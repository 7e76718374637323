from __future__ import annotations

from collections.abc import Callable

import pytest

from microbench.results.record import SCHEMA_VERSION, Record

MakeRecord = Callable[..., Record]


@pytest.fixture(scope="session")
def record() -> MakeRecord:
    """Makes a record, with what cases and estimates are made of, from a phase and its median in seconds."""

    def make(
        phase: str | None,
        median: float | None,
        status: str = "ok",
        round: int = 0,  # noqa: A002 - the field's name
        rounds: int = 1,
        **more: object,
    ) -> Record:
        shared: Record = {
            "schema_version": SCHEMA_VERSION,
            "run_id": "r",
            "case_id": "c",
            "order": 0,
            "round": round,
            "started_at": f"2026-01-01T00:00:0{round}.000+00:00",
            "status": status,
            "error": None,
            "n_series": 1,
            "warnings": [],
            "config": {"measure": {"rounds": rounds}},
        }
        summary: Record = {
            "n": 0 if median is None else 20,
            "median": median,
            "ci_low": median,
            "ci_high": median,
            "confidence": None if median is None else 0.95,
        }
        return shared | summary | {"phase": phase} | more

    return make
