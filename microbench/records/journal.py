"""Journals, which are files of records, as Arrow tables: a million series in seconds.

What several rounds share is decoded once: a case and a machine are recognized by their bytes. The columns
have the names that they have in `Result.to_frame`; `frame` joins the tables to that, and `views` gives them
to SQL. What has no fixed type (a configuration, the warnings) is JSON.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import cache
from hashlib import blake2b
from operator import attrgetter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from microbench.config import AXES
from microbench.records.frame import OF_A_LAYER, OF_ENERGY, OF_GPU, column_of
from microbench.records.record import (
    SCHEMA_VERSION,
    Call,
    CaseSpec,
    Check,
    DistinctLayer,
    Energy,
    GpuReadings,
    Machine,
    Outcome,
    Plan,
    Process,
    Readings,
    RunInfo,
    Series,
    Summary,
    check_version,
)
from microbench.schema import as_column

if TYPE_CHECKING:
    import pyarrow as pa

JSON = "json"
"""The type of a column of JSON texts."""

NUMBERS = "numbers"
"""The type of a column of lists of numbers."""

Types = dict[str, Any]
"""The type of each column: int, float, str, bool, JSON or NUMBERS."""


class _Line(msgspec.Struct, kw_only=True):
    """A record whose shared parts are not decoded yet."""

    run: msgspec.Raw
    case: msgspec.Raw
    round: int
    turn: int = 0
    started_at: str
    machine: msgspec.Raw
    outcome: Outcome
    series: tuple[Series, ...] = ()
    calls: tuple[Call, ...] = ()
    seconds: float | None = None
    startup: float = 0.0
    checking: float = 0.0
    plan: Plan | None = None


def _plain(annotation: Any) -> Any:
    """Return the type of a column for values of an annotated type."""
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (each for each in get_args(annotation) if each is not types.NoneType)
    if annotation in (int, float, bool, str):
        return annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return str
    return NUMBERS if annotation == list[float] else JSON


def _types(struct: type[msgspec.Struct], prefix: str = "", but: Sequence[str] = ()) -> Types:
    """Return the columns for a struct's fields."""
    hints = get_type_hints(struct)
    return {f"{prefix}{name}": _plain(hints[name]) for name in struct.__struct_fields__ if name not in but}


def _of_axis(annotation: Any) -> Any:
    found = str if annotation is Any else _plain(annotation)
    return str if found in (JSON, NUMBERS) else found


OF_OUTCOME = (
    *("status", "error", "traceback", "stop_reason", "params", "inputs", "item", "items", "trace"),
    *("peak_memory", "joules"),
)
OF_RUN = {"run_id": str, "run_command": str, "invocation": str, "schedule": str, "schedule_seed": int}
SUMMARY = _types(Summary)
PROCESS = _types(Process, "env_")
MACHINE = {"host_id": str, **_types(Machine, "env_", but=("host_id", "extra", "load_average"))}

CASES: Types = {
    **OF_RUN,
    "run_cases": int,
    "case_id": str,
    "order": int,
    "command": str,
    **{f"cfg_{axis}": _of_axis(declared.type) for axis, declared in AXES.items()},
    "config": JSON,
    **{column_of(name): kind for name, kind in _types(DistinctLayer).items() if name in OF_A_LAYER},
    "training": bool,
}
"""The columns of the table of cases: a row for each case of each run."""

MACHINES: Types = {**MACHINE, "extra": JSON}
"""The columns of the table of machines."""

ROUNDS: Types = {
    "case": int,
    "machine": int,
    "identity": int,
    "disturbed": bool,
    "schema_version": int,
    "turn": int,
    "round": int,
    "started_at": str,
    "seconds": float,
    "startup": float,
    "checking": float,
    "env_load_average": float,
    **{name: kind for name, kind in _types(Outcome).items() if name in OF_OUTCOME},
    "warnings": JSON,
    "env_peaks": JSON,
    **_types(Check),
    **PROCESS,
    **_types(Readings),
    **_types(Energy, "energy_", but=("joules",)),
    **_types(GpuReadings, "gpu_", but=("timeline",)),
}
"""The columns of the table of rounds; `case` and `machine` are places in their tables."""

SERIES: Types = {"record": int, **_types(Series, but=("summary",)), **SUMMARY}
"""The columns of the table of series; `record` is a place in the table of rounds."""

CALLS: Types = {"record": int, **_types(Call)}
"""The columns of the table of calls; `record` is a place in the table of rounds."""

TABLES = {"cases": CASES, "machines": MACHINES, "rounds": ROUNDS, "series": SERIES, "calls": CALLS}
"""The columns of each table."""

Tables = Mapping[str, "pa.Table"]
"""The tables of `TABLES`, by name."""

LOAD = re.compile(rb'"load_average":([-+.\deE]+|null),')
"""What differs between the rounds of one machine."""

_ENCODE = msgspec.json.Encoder().encode
_LINE = msgspec.json.Decoder(_Line)
_RUN = msgspec.json.Decoder(RunInfo)
_CASE = msgspec.json.Decoder(CaseSpec)
_MACHINE = msgspec.json.Decoder(Machine)

_NONE = SimpleNamespace(**dict.fromkeys((*Readings.__struct_fields__, *Energy.__struct_fields__)))
"""What stands for readings that were not made, so that their columns are empty."""

_NO_GPU = SimpleNamespace(**dict.fromkeys(GpuReadings.__struct_fields__))
_NO_SUMMARY = SimpleNamespace(**dict.fromkeys(Summary.__struct_fields__))


def is_text(kind: Any) -> bool:
    """Return whether a column of a type has texts."""
    return kind in (str, JSON)


@cache
def schema_of(name: str) -> pa.Schema:
    """Return the Arrow schema of a table."""
    import pyarrow as pa

    text = pa.string()
    known = {
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
        str: text,
        JSON: text,
        NUMBERS: pa.list_(pa.field("item", pa.float64(), nullable=False)),
    }
    return pa.schema([(column, known[kind]) for column, kind in TABLES[name].items()])


class Builder:
    """Builds the tables of lines of records, in their order.

    Rounds, series and calls can be taken out block by block, which bounds the memory; cases and machines are
    complete at the end.

    Attributes:
        rounds: the number of records added.
    """

    def __init__(self) -> None:
        self.rounds = 0
        self._lines: list[_Line] = []
        self._places: list[tuple[int, int, int, float | None]] = []
        self._cases: dict[bytes, tuple[int, bytes]] = {}
        self._machines: dict[bytes, tuple[int, str, float | None]] = {}
        self._case_rows: list[tuple[Any, ...]] = []
        self._machine_rows: list[tuple[Any, ...]] = []

    def add(self, line: bytes) -> None:
        """Add the record of a line.

        Raises:
            OtherVersionError: it is of an unreadable version, or another kind of object.
            msgspec.DecodeError: it is not JSON, such as a line truncated by a crash, or not a record.
        """
        check_version(line)
        found = _LINE.decode(line)
        case, prefix = self._case(bytes(found.run), bytes(found.case))
        machine, host_id, load = self._machine(bytes(found.machine))
        key = prefix + f"{host_id}\0{found.round}\0{found.started_at}".encode()
        identity = int.from_bytes(blake2b(key, digest_size=8).digest(), signed=True)
        self._places.append((case, machine, identity, load))
        self._lines.append(found)

    def take_rounds(self) -> Tables:
        """Return the rounds, series and calls that were added since they were last taken out."""
        lines, self._lines = self._lines, []
        places, self._places = self._places, []
        first, self.rounds = self.rounds, self.rounds + len(lines)
        return {
            "rounds": _table("rounds", _rounds(lines, places)),
            "series": _table("series", _series(lines, first)),
            "calls": _table("calls", _calls(lines, first)),
        }

    def take_shared(self) -> Tables:
        """Return the cases and machines of all rounds."""
        return {
            "cases": _table("cases", _columns(self._case_rows, list(CASES))),
            "machines": _table("machines", _columns(self._machine_rows, list(MACHINES))),
        }

    def taken(self) -> Tables:
        """Return the tables of all that was added, with texts as dictionaries, as the cache has them."""
        return encoded({**self.take_rounds(), **self.take_shared()})

    def _case(self, run_bytes: bytes, case_bytes: bytes) -> tuple[int, bytes]:
        """Return a case's place in its table, and the beginning of its rounds' identity."""
        known = self._cases.get(run_bytes + case_bytes)
        if known is not None:
            return known
        run, case = _RUN.decode(run_bytes), _CASE.decode(case_bytes)
        self._case_rows.append(_case_row(run, case))
        prefix = f"{run.id}\0{run.invocation}\0{case.id}\0{case.order}\0".encode()
        self._cases[run_bytes + case_bytes] = found = len(self._cases), prefix
        return found

    def _machine(self, data: bytes) -> tuple[int, str, float | None]:
        """Return a machine's place in its table, its id, and its load when the round began."""
        load = LOAD.search(data)
        key = data if load is None else data[: load.start()] + data[load.end() :]
        known = self._machines.get(key)
        if known is None:
            machine = _MACHINE.decode(key)
            row = {f"env_{name}": getattr(machine, name) for name in Machine.__struct_fields__}
            row |= {"host_id": machine.host_id, "extra": _json(machine.extra)}
            self._machine_rows.append(tuple(row[name] for name in MACHINES))
            known = self._machines[key] = len(self._machines), machine.host_id, machine.load_average
        if load is None:
            return known
        return known[0], known[1], None if load[1] == b"null" else float(load[1])


def encoded(tables: Tables) -> Tables:
    """Return the tables with their texts as dictionaries."""
    found = {}
    for name, table in tables.items():
        for place, (column, kind) in enumerate(TABLES[name].items()):
            if is_text(kind):
                table = table.set_column(place, column, table.column(place).dictionary_encode())
        found[name] = table
    return found


def once(tables: Tables) -> Tables:
    """Return the tables with the first of each round that occurs several times."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    _, firsts = np.unique(tables["rounds"].column("identity").to_numpy(), return_index=True)
    count = len(tables["rounds"])
    if len(firsts) == count:
        return tables
    firsts.sort()
    places = np.full(count, -1)
    places[firsts] = np.arange(len(firsts))
    found = dict(tables) | {"rounds": tables["rounds"].take(pa.array(firsts))}
    for name in ("series", "calls"):
        record = places[tables[name].column("record").to_numpy()]
        table = tables[name].set_column(0, "record", pa.array(record))
        found[name] = table.filter(pc.greater_equal(table.column("record"), 0))
    return found


Columns = dict[str, Sequence[Any]]


def _table(name: str, columns: Columns) -> pa.Table:
    import pyarrow as pa

    schema = schema_of(name)
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _columns(rows: Iterable[tuple[Any, ...]], names: Sequence[str]) -> Columns:
    """Return the columns of rows with these names."""
    return dict(zip(names, zip(*rows, strict=True), strict=False)) or dict.fromkeys(names, ())


def _fields(found: Iterable[Any], names: Sequence[str], prefix: str = "") -> Columns:
    """Return a column for each of these fields of structs."""
    return _columns(map(attrgetter(*names), found), [f"{prefix}{name}" for name in names])


def _rounds(lines: Sequence[_Line], places: Sequence[tuple[Any, ...]]) -> Columns:
    outcomes = [each.outcome for each in lines]
    readings = [each.readings or _NONE for each in outcomes]
    gpu = _fields((each.gpu or _NO_GPU for each in outcomes), OF_GPU, "gpu_")
    return {
        **_columns(places, ["case", "machine", "identity", "env_load_average"]),
        "disturbed": [each is not _NONE and each.is_disturbed for each in readings],
        "schema_version": [SCHEMA_VERSION] * len(lines),
        **_fields(lines, ("turn", "round", "started_at", "seconds", "startup", "checking")),
        **_fields(outcomes, OF_OUTCOME),
        "warnings": [_json(each.warnings) if each.warnings else "[]" for each in outcomes],
        "env_peaks": [None if each.peaks is None else _json(each.peaks) for each in outcomes],
        **_fields((each.check for each in outcomes), Check.__struct_fields__),
        **_fields((each.process for each in outcomes), Process.__struct_fields__, "env_"),
        **_fields(readings, Readings.__struct_fields__),
        **_fields((each.energy or _NONE for each in outcomes), OF_ENERGY, "energy_"),
        **{name: _texts(each) if ROUNDS[name] == JSON else each for name, each in gpu.items()},
    }


def _series(lines: Sequence[_Line], first: int) -> Columns:
    found = [each for line in lines for each in line.series]
    summaries = _fields((each.summary or _NO_SUMMARY for each in found), Summary.__struct_fields__)
    return {
        "record": [first + place for place, line in enumerate(lines) for _ in line.series],
        **_fields(found, [name for name in Series.__struct_fields__ if name != "summary"]),
        **summaries,
        "clock": [each.clock or None for each in found],
        "n": [len(each.samples) for each in found],
    }


def _calls(lines: Sequence[_Line], first: int) -> Columns:
    return {
        "record": [first + place for place, line in enumerate(lines) for _ in line.calls],
        **_fields((each for line in lines for each in line.calls), Call.__struct_fields__),
    }


def _texts(values: Sequence[Any]) -> Sequence[str | None]:
    return [None if each is None else _json(each) for each in values]


_OF_CASE = attrgetter("id", "order", "command")
_OF_RUN = attrgetter("id", "command_line", "invocation", "schedule", "schedule_seed", "cases")
_AXES = attrgetter(*(each.key for each in AXES.values()), "mode.training")
_OF_LAYER = attrgetter(*OF_A_LAYER)
_NO_LAYER = (None,) * len(OF_A_LAYER)


def _case_row(run: RunInfo, case: CaseSpec) -> tuple[Any, ...]:
    """Return the values of a case's columns, in the order of `CASES`."""
    *axes, training = _AXES(case.config)
    layer = _NO_LAYER if case.layer is None else _OF_LAYER(case.layer)
    texts = [
        as_column(value, declared) if isinstance(value, list) else value
        for value, declared in zip(axes, AXES.values(), strict=True)
    ]
    return (*_OF_RUN(run), *_OF_CASE(case), *texts, _json(case.config), *layer, training)


def _json(value: Any) -> str:
    return _ENCODE(value).decode()
