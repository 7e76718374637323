"""Records as flat rows: those of the data frame, with None for what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from microbench.records.record import RoundRecord
from microbench.records.result import Result

OF_JSON = ("config", "warnings", "env_peaks", "gpu_reasons", "gpu_throttled_samples")


def rows(*records: RoundRecord) -> list[dict[str, Any]]:
    """Return one row per series and per figure of each call."""
    frame = Result(records, Path()).to_frame()
    columns = {name: [_plain(name, each) for each in frame[name].tolist()] for name in frame.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(name: str, value: Any) -> Any:
    if not isinstance(value, list) and pd.isna(value):
        return None
    return json.loads(value) if name in OF_JSON else value
