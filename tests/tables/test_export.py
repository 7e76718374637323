from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from microbench.records.record import RoundRecord
from microbench.records.result import Result
from microbench.tables.export import rows, write_csv, write_json

from .support import INFER, TRAIN, MakeCase


def result(*records: list[RoundRecord]) -> Result:
    return Result([each for case in records for each in case], Path("records.jsonl"))


def test_each_case_and_phase_has_a_row_in_si_units(make_case: MakeCase) -> None:
    found = rows(result(make_case(TRAIN), make_case(INFER, mode="infer", order=1)))
    medians = {(row["cfg_mode"], row["phase"]): row["median"] for row in found}
    assert medians["train", "total"] == 0.04
    assert medians["infer", "inference"] == 0.008


def test_csv_has_a_header_and_one_line_per_row_with_unknown_values_empty() -> None:
    file = io.StringIO()
    write_csv([{"a": 1, "b": None}, {"a": 2.5, "c": ["x", "y"]}], file)
    assert list(csv.reader(io.StringIO(file.getvalue()))) == [
        ["a", "b", "c"],
        ["1", "", ""],
        ["2.5", "", '["x", "y"]'],
    ]


def test_json_has_one_object_per_line_with_unknown_values_null() -> None:
    file = io.StringIO()
    write_json([{"a": 1, "b": None}, {"a": float("nan")}], file)
    assert [json.loads(line) for line in file.getvalue().splitlines()] == [{"a": 1, "b": None}, {"a": None}]
