"""The record: its line decodes to the same record, and the published schema describes it."""

from __future__ import annotations

import copy
import inspect
import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from factory import QUIET, configured, record_of, series_of
from msgspec.structs import replace

from microbench.config import Config
from microbench.records import record as records
from microbench.records.peaks import Peaks
from microbench.records.record import (
    BenchmarkWarning,
    Call,
    Check,
    Correctness,
    DistinctLayer,
    Kind,
    OtherVersionError,
    Outcome,
    Process,
    Role,
    RoundRecord,
    Series,
    Status,
    StopReason,
    WarningCode,
    decode,
    encode,
    unverified,
)
from microbench.records.summary import summarize
from microbench.verify.judging import Checked

SAMPLES = [0.1, 0.2, 0.3, 0.4, 0.5, 1 / 3]
PEAKS = Peaks(1e12, None, "mm", "", ((1024, 1e9),), 1e-6, emulated=(("bfloat16", 1e9),))
SCHEMA = Path(records.__file__).with_name("record.schema.json")
EMPTY_DEFAULTS = (("default", []), ("default", {}))


def full() -> RoundRecord:
    """Return a record with every field set."""
    whole = series_of("total", SAMPLES, warmup=[2.5, 0.1], calls_per_sample=7)
    call = Call(name="a", index=0, order=1, depth=1, kind=Kind.MODULE, type="Linear", flops=7, times=SAMPLES)
    outcome = Outcome(
        stop_reason=StopReason.REL_CI,
        warnings=(BenchmarkWarning(WarningCode.DRIFT, "it drifts"),),
        params=10,
        peak_memory=1024,
        joules=0.5,
        readings=replace(QUIET, steal=0.25),
        check=Check(Correctness.SAME, 0.5, 0.25, 1.0, 0.125, 0.3, 0.4),
        process=Process(threads=2, engine="torch"),
        peaks=PEAKS,
        trace="trace.json",
    )
    found = record_of(
        {"total": whole, "prepare": 0.25, "forward": Series("forward", "fake", [0.5])},
        configured(affinity=[0, 1], model__kwargs={"bias": False}, threads=None),
        outcome=outcome,
        calls=[call],
    )
    layer = DistinctLayer("conv", "conv", 0, "Conv2d", "3, 8", "(1, 3, 8, 8)", 3)
    return replace(found, case=replace(found.case, layer=layer))


def failed() -> RoundRecord:
    """Return a record of a failed round."""
    return record_of(outcome=Outcome(status=Status.OOM, error="out of memory", traceback="Traceback …"))


@pytest.mark.parametrize("record", [full(), failed()])
def test_a_record_comes_back_as_it_was_to_the_last_bit(record: RoundRecord) -> None:
    assert decode(encode(record)) == record


@pytest.mark.parametrize("record", [full(), failed()])
def test_a_record_is_one_line_that_says_its_version_first(record: RoundRecord) -> None:
    line = encode(replace(record, outcome=replace(record.outcome, error="two\nlines\u2028and\x85more")))
    assert len(line.splitlines()) == 1
    assert line.startswith(b'{"schema_version":3,')
    assert decode(line).outcome.error == "two\nlines\u2028and\x85more"


def test_what_all_series_of_a_round_share_is_written_once() -> None:
    line = encode(full())
    assert line.count(b'"Some CPU"') == line.count(b'"batch_size"') == line.count(b'"run":') == 1


def same_in_every_msgspec(schema: Any) -> Any:
    """Return a schema without the differences between versions of msgspec.

    0.22 changed the order of the choices of `anyOf`; 0.23 added the defaults of lists and dicts, and
    dropped the indentation of docstrings.
    """
    if isinstance(schema, list):
        return [same_in_every_msgspec(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = [(key, part) for key, part in schema.items() if (key, part) not in EMPTY_DEFAULTS]
    same = {key: same_in_every_msgspec(part) for key, part in kept}
    if isinstance(same.get("description"), str):
        same["description"] = inspect.cleandoc(same["description"])
    if "anyOf" in same:
        same["anyOf"].sort(key=json.dumps)
    return same


def test_the_published_schema_is_that_of_the_record() -> None:
    published, written = json.loads(SCHEMA.read_text("utf-8")), json.loads(records.schema())
    same = same_in_every_msgspec(published) == same_in_every_msgspec(written)
    assert same, "write it anew: SCHEMA.write_text(records.schema())"


def test_a_change_of_the_record_changes_the_compared_schema() -> None:
    published = json.loads(SCHEMA.read_text("utf-8"))
    changed = copy.deepcopy(published)
    changed["$defs"]["RoundRecord"]["properties"]["round"]["type"] = "number"
    assert same_in_every_msgspec(published) != same_in_every_msgspec(changed)


@pytest.mark.parametrize("record", [full(), failed()])
def test_records_fit_the_published_schema(record: RoundRecord) -> None:
    jsonschema.validate(json.loads(encode(record)), json.loads(SCHEMA.read_text("utf-8")))


def test_a_line_that_is_no_record_does_not_fit_the_published_schema() -> None:
    line = json.loads(encode(full()))
    line["series"][0]["samples"] = ["fast"]
    with pytest.raises(jsonschema.ValidationError, match="'fast' is not of type 'number'"):
        jsonschema.validate(line, json.loads(SCHEMA.read_text("utf-8")))


def without(line: bytes, *path: str) -> bytes:
    """Return a line as it was before one of its fields existed."""
    found = json.loads(line)
    inner: Any = found
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    "path",
    [
        ("case", "config", "allocator"),
        ("case", "config", "measure", "cold_cache"),
        ("machine", "hypervisor"),
        ("outcome", "joules"),
        ("calls",),
    ],
)
def test_a_field_newer_than_a_record_has_its_default(path: tuple[str, ...]) -> None:
    found: Any = decode(without(encode(failed()), *path))
    default: Any = replace(failed(), machine=records.Machine())
    default = replace(default, case=replace(default.case, config=Config()))
    for name in path:
        found, default = getattr(found, name), getattr(default, name)
    assert found == default


def test_what_a_newer_record_says_besides_is_passed_over() -> None:
    line = json.loads(encode(full()))
    line["machine"]["moon_phase"] = "full"
    assert decode(json.dumps(line).encode()) == full()


@pytest.mark.parametrize("version", [1, 2, 4, None, "3"])
def test_a_record_of_a_version_that_cannot_be_read_says_which_it_is(version: object) -> None:
    line = json.loads(encode(full())) | {"schema_version": version}
    with pytest.raises(OtherVersionError) as caught:
        decode(json.dumps(line, separators=(",", ":")).encode())
    assert caught.value.version == version


@pytest.mark.parametrize("line", [b"", b"3", b"null", b"[1]", encode(full())[:-8], b"\xff\xfe"])
def test_a_line_that_is_no_json_object_is_no_record(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(line)


def test_an_error_names_the_field() -> None:
    line = encode(full()).replace(b'"phase":"total"', b'"phase":3')
    with pytest.raises(
        msgspec.ValidationError, match=r"Expected `str`, got `int` - at `\$\.series\[0\]\.phase`"
    ):
        decode(line)


def test_a_value_that_is_not_finite_becomes_null() -> None:
    outcome = replace(full().outcome, joules=math.nan, check=Check(Correctness.UNCLEAR, math.inf))
    line = encode(replace(full(), outcome=outcome))
    assert b"NaN" not in line
    assert b"Infinity" not in line
    found = decode(line).outcome
    assert (found.joules, found.check.error_abs) == (None, None)


def test_a_wrong_answer_is_a_mismatch_whatever_the_case_took() -> None:
    check = Check(Correctness.MISMATCH, 0.5)
    found = Checked(check, "it is off").applied(full().outcome)
    assert (found.status, found.error, found.check) == (Status.MISMATCH, "it is off", check)
    assert found.peak_memory == 1024


def test_an_answer_that_cannot_be_told_is_a_warning() -> None:
    found = Checked(Check(Correctness.UNCLEAR), "why not").applied(full().outcome)
    assert (found.status, found.check.answer) == (Status.OK, Correctness.UNCLEAR)
    assert found.warnings[-1] == BenchmarkWarning(WarningCode.UNVERIFIED, "why not")


def test_an_answer_that_could_not_be_checked_is_a_warning_that_says_how_to_do_without() -> None:
    found = unverified(Outcome(), "no memory")
    assert (found.status, found.check.answer) == (Status.OK, None)
    assert [each.message for each in found.warnings] == ["no memory; verify=false leaves the check out"]


def test_what_happens_once_is_no_part_of_the_sampling() -> None:
    roles = {series.phase: series.role for series in full().series}
    assert roles == {"total": Role.WHOLE, "prepare": Role.ONCE, "forward": Role.PART}


@pytest.mark.parametrize(
    ("median", "low", "high", "half_width"),
    [(2.0, 1.5, 2.5, 0.25), (2.0, None, None, None), (0.0, 0.0, 1.0, None)],
)
def test_half_width_is_a_share_of_the_median_and_unknown_without_one(
    median: float, low: float | None, high: float | None, half_width: float | None
) -> None:
    summary = replace(summarize(SAMPLES), median=median, ci_low=low, ci_high=high)
    assert summary.half_width == half_width
