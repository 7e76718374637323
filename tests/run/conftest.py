from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from microbench.records.result import Result
from microbench.records.store import Store
from microbench.run import runner
from microbench.run.case import Case
from microbench.run.pool import Pool

from .support import CORES, Diary, Take


@pytest.fixture
def take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Take:
    """Return a function that runs cases with these workers into a store in a folder of its own."""

    def run(
        planned: Sequence[Case], workers: Any, observer: Any = None, run_id: str = "the-run", **more: Any
    ) -> Result:
        monkeypatch.setattr(Pool, "of", lambda self, case: workers)
        monkeypatch.setattr(runner.cpus, "physical_cores", lambda: CORES)
        with Store(tmp_path / "run") as store:
            return runner.Run(planned, store, observer or Diary(), run_id, **more).measure()

    return run
