from __future__ import annotations

from pathlib import Path

import pytest
import torch

from microbench.engines.libtorch import build
from microbench.errors import SkippedError

from .support import measure

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def _built() -> None:
    """The program, without which there is nothing to see."""
    try:
        build.program()
    except SkippedError as reason:
        pytest.skip(str(reason))


def test_it_infers_and_trains_and_is_checked_against_eager(tmp_path: Path) -> None:
    done = measure("-m", "model=dense", "engine=libtorch", "mode=infer,train", cwd=tmp_path)
    assert done.code == 0, done
    records = done.records
    assert {(record["status"], record["answer"]) for record in records} == {("ok", "same")}
    assert {record["env_engine"] for record in records} == {f"libtorch {torch.__version__}"}
    assert {record["phase"] for record in records} == {
        *("prepare", "first_call", "inference"),
        *("forward", "backward", "update", "total"),
    }
    sampled = [record for record in records if record["phase"] in ("inference", "total")]
    assert all(record["page_faults_per_call"] is not None for record in sampled)
    assert all(record["peak_memory"] > 0 for record in sampled)
