from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from factory import configured, record_of, series_of
from msgspec.structs import replace

from microbench.records.record import Outcome, RoundRecord, Status

MakeRecord = Callable[..., RoundRecord]


@pytest.fixture(scope="session")
def record() -> MakeRecord:
    """Makes a round's record from a phase and its median in seconds; None without one.

    More: `rounds`, fields of the phase's summary, of the record, and of its outcome.
    """

    def make(
        phase: str | None, median: float | None, status: str = "ok", rounds: int = 1, **more: Any
    ) -> RoundRecord:
        whole = series_of(phase or "", [median or 0.0] * 20)
        assert whole.summary is not None
        given = {name: more.pop(name) for name in list(more) if name in whole.summary.__struct_fields__}
        told = {name: more.pop(name) for name in list(more) if name in Outcome.__struct_fields__}
        summary = None if median is None else replace(whole.summary, ci_low=median, ci_high=median)
        if summary is not None:
            summary = replace(summary, **given)
        samples = [] if median is None else [median] * int(given.get("n", 20))
        return record_of(
            {} if phase is None else {phase: replace(whole, samples=samples, summary=summary)},
            configured(measure__rounds=rounds),
            outcome=Outcome(status=Status(status), **told),
            **more,
        )

    return make
