"""Tables as one data frame: a row for each series, and for each figure of a profile's call, in SI units.

The columns of rounds, cases and machines are repeated for each row, which costs a number for each text: texts
are categories. What has no fixed type, such as a configuration, is JSON.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from microbench.errors import unknown
from microbench.records import frame
from microbench.records.journal import CASES, MACHINES, ROUNDS, Tables, is_text, schema_of
from microbench.records.record import (
    Check,
    Machine,
    Process,
    Role,
    Summary,
    phase_of_calls,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    Places = np.ndarray[Any, np.dtype[np.int64]]

OF_A_ROW = (
    *("phase", "metric", "unit", "clock"),
    *Summary.__struct_fields__,
    *("calls_per_sample", "samples", "warmup"),
)
"""The columns that differ between the rows of a round."""

OF_A_CALL = tuple(map(frame.column_of, frame.OF_A_CALL))

COLUMNS = (
    *(
        "schema_version",
        "status",
        "error",
        "traceback",
        "warnings",
        "params",
        "inputs",
        "item",
        "items",
        "trace",
    ),
    *Check.__struct_fields__,
    *("run_id", "run_command", "invocation", "turn", "schedule", "schedule_seed", "run_cases", "case_id"),
    *("host_id", "started_at", "round", "order", "command"),
    *(name for name in CASES if name.startswith("cfg_")),
    "config",
    *dict.fromkeys((*OF_A_CALL, *map(frame.column_of, frame.OF_A_LAYER))),
    *(f"env_{name}" for name in Machine.__struct_fields__ if name not in ("host_id", "extra")),
    *(f"env_{name}" for name in Process.__struct_fields__),
    "env_peaks",
    *frame.OF_SAMPLING,
    *OF_A_ROW,
)
"""The columns, without those of facts that another package's device adds to a machine."""


def data_frame(tables: Tables, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the data frame of tables.

    Args:
        tables: the tables.
        columns: the columns to return; by default all.

    Raises:
        UserError: there is no such column.
    """
    import pandas as pd

    found = _Frame(tables)
    extra = found.extra()
    place = COLUMNS.index("env_allocator")
    known = [*COLUMNS[:place], *extra, *COLUMNS[place:]]
    for name in columns or ():
        if name not in known:
            raise unknown("column", name, known)
    chosen = known if columns is None else list(columns)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # numpy lets go of the interpreter's lock
        values = pool.map(lambda name: extra[name] if name in extra else found.column(name), chosen)
        return pd.DataFrame(dict(zip(chosen, values, strict=True)), copy=False)


class _Frame:
    """Makes the columns of the data frame of tables."""

    def __init__(self, tables: Tables) -> None:
        import numpy as np

        self._rows = _rows(tables)
        self._rounds, self._cases, self._machines = tables["rounds"], tables["cases"], tables["machines"]
        self._record = _numbers(self._rows.column("record"))
        self._case = _numbers(self._rounds.column("case"))[self._record]
        self._machine = _numbers(self._rounds.column("machine"))[self._record]
        sampled = self._rows.column("sampled").to_numpy()
        self._sampled = None if sampled.all() else np.where(sampled, self._record, -1)
        self._empty: dict[str, Any] = {}

    def column(self, name: str) -> Any:
        """Return a column by its name."""
        if name in self._rows.column_names and name in CASES:
            return self._of_call_or_case(name)
        if name in self._rows.column_names:
            return self._array(self._rows.column(name))
        if name in CASES:
            return self._array(self._cases.column(name), self._case)
        if name in MACHINES:
            return self._array(self._machines.column(name), self._machine)
        if name in ROUNDS:
            of_samples = name in frame.OF_SAMPLING and self._sampled is not None
            return self._array(self._rounds.column(name), self._sampled if of_samples else self._record)
        import pyarrow as pa

        return self._nothing(pa.string())  # of a call, where there are none

    def _of_call_or_case(self, name: str) -> Any:
        """Return a column of calls, in whose other rows is what it has of a case's layer."""
        import pyarrow.compute as pc

        kind = schema_of("cases").field(name).type
        of_case = _taken(self._cases.column(name).cast(kind), self._case)
        found = pc.coalesce(self._rows.column(name).cast(kind), of_case)
        return self._array(found.dictionary_encode() if is_text(CASES[name]) else found)

    def extra(self) -> dict[str, Any]:
        """Return the columns of facts on other packages' devices."""
        import pandas as pd

        facts = [msgspec.json.decode(each) for each in self._machines.column("extra").to_pylist()]
        names = dict.fromkeys(name for each in facts for name in each)
        return {
            f"env_{name}": pd.Series([each.get(name) for each in facts], dtype=object)
            .infer_objects()
            .array.take(self._machine)
            for name in names
        }

    def _array(self, found: pa.ChunkedArray, places: Places | None = None) -> Any:
        """Return a column's values at places, None where that is -1; without places all."""
        import pandas as pd
        import pyarrow as pa

        if found.null_count == len(found):
            return self._nothing(found.type)
        if pa.types.is_dictionary(found.type):
            return _categories(found, places)
        if places is not None:
            found = _taken(found, places)
        return pd.array(found, dtype=pd.ArrowDtype(found.type))

    def _nothing(self, kind: pa.DataType) -> Any:
        """Return a column without a value."""
        import pandas as pd
        import pyarrow as pa

        text = pa.types.is_dictionary(kind) or pa.types.is_string(kind)
        if str(kind) not in self._empty:
            length = len(self._rows)
            self._empty[str(kind)] = (
                pd.Categorical.from_codes([-1] * length, categories=pd.Index([], dtype="str"))
                if text
                else pd.array(pa.nulls(length, kind), dtype=pd.ArrowDtype(kind))
            )
        return self._empty[str(kind)]


def _numbers(found: pa.ChunkedArray) -> Places:
    numbers: Places = found.to_numpy()
    return numbers


def _taken(found: pa.ChunkedArray, places: Places) -> pa.Array:
    """Return the values at places; None where that is -1."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = found.combine_chunks()
    if not _is_number(found.type) or not len(whole):
        return whole.take(pa.array(places, mask=places < 0))
    values = whole.fill_null(False if pa.types.is_boolean(found.type) else 0)
    missing = pc.is_null(whole).to_numpy(zero_copy_only=False)
    is_full = not missing.any() and places.min(initial=0) >= 0
    mask = None if is_full else missing[places] | (places < 0)
    return pa.array(values.to_numpy(zero_copy_only=False)[places], found.type, mask=mask)


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return any(each(kind) for each in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean))


def _categories(found: pa.ChunkedArray, places: Places | None) -> pd.Categorical:
    """Return texts as categories, in alphabetical order."""
    import numpy as np
    import pandas as pd
    import pyarrow.compute as pc

    whole = found.unify_dictionaries().combine_chunks()
    order = pc.array_sort_indices(whole.dictionary)
    rank = np.empty(len(order) + 1, dtype=np.min_scalar_type(-len(order) - 1))
    rank[order.to_numpy()], rank[-1] = np.arange(len(order)), -1
    codes = rank[whole.indices.fill_null(len(order)).to_numpy()]
    if places is not None:
        codes = np.append(codes, rank[-1:])[places]
    kind = pd.CategoricalDtype(pd.Index(whole.dictionary.take(order).to_pandas()))
    return pd.Categorical.from_codes(codes, dtype=kind, validate=False)


def _rows(tables: Tables) -> pa.Table:
    """Return one row per series, per figure of each call, and per round that has neither."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    series, calls = tables["series"], tables["calls"]
    count = len(series)
    found = series.drop_columns(["role", "of_layers", "resolution", "sm_clocks"])
    found = found.append_column(
        "sampled", pc.not_equal(series.column("role").cast(pa.string()), Role.ONCE.value)
    )
    for name, text in (("metric", "time"), ("unit", "s")):
        codes = pa.array(np.zeros(count, dtype=np.int32))
        found = found.append_column(name, pa.DictionaryArray.from_arrays(codes, pa.array([text])))
    has = np.zeros(len(tables["rounds"]), dtype=bool)
    for each in (series, calls):
        has[_numbers(each.column("record"))] = True
    others = [*_call_rows(tables), *(_empty_row(record) for record in np.flatnonzero(~has).tolist())]
    if not others:
        return found
    more = pa.Table.from_pylist(others, schema=_schema())
    for place, field in enumerate(more.schema):
        if pa.types.is_string(field.type):
            more = more.set_column(place, field.name, more.column(place).dictionary_encode())
    found = pa.concat_tables([found, more], promote_options="default").unify_dictionaries()
    return found.take(pa.array(np.argsort(_numbers(found.column("record")), kind="stable")))


def _schema() -> pa.Schema:
    """Return the types of the columns of `OF_A_ROW` and `OF_A_CALL`, and of the row's place and kind."""
    import pyarrow as pa

    of_series, of_calls = schema_of("series"), schema_of("calls")
    names = {frame.column_of(name): of_calls.field(name).type for name in frame.OF_A_CALL}
    texts = dict.fromkeys(("metric", "unit"), pa.string())
    more = {name: texts.get(name) or of_series.field(name).type for name in OF_A_ROW}
    return pa.schema({"record": pa.int64(), "sampled": pa.bool_(), **more, **names})


def _empty_row(record: int) -> frame.Row:
    return {
        "record": record,
        "sampled": True,
        "metric": "time",
        "unit": "s",
        "n": 0,
        "calls_per_sample": 1,
        "samples": [],
        "warmup": [],
    }


def _call_rows(tables: Tables) -> Iterator[frame.Row]:
    """Yield a row per figure of each call; the backward pass's FLOPs have its phase."""
    if not len(tables["calls"]):
        return
    cases = tables["rounds"].column("case").to_pylist()
    trainings = tables["cases"].column("training").to_pylist()
    clocks = _clocks(tables["series"])
    for call in tables["calls"].to_pylist():
        record = call["record"]
        phase = phase_of_calls(trainings[cases[record]])
        for name, samples in frame.figures(call).items():
            is_timed = name == "lat"
            yield {
                "record": record,
                "sampled": is_timed,
                **{frame.column_of(each): call[each] for each in frame.OF_A_CALL},
                "phase": "backward" if name == "backward" else phase,
                "metric": "flops" if name == "backward" else name,
                "unit": frame.UNITS.get(name, "s"),
                "clock": clocks.get(record) if is_timed else None,
                **frame.summary_of(samples),
                "calls_per_sample": 1,
                "samples": samples,
                "warmup": [],
            }


def _clocks(series: pa.Table) -> Mapping[int, str]:
    """Return the clock of each round's first series."""
    pairs = zip(series.column("record").to_pylist(), series.column("clock").to_pylist(), strict=True)
    found: dict[int, str] = {}
    for record, clock in pairs:
        found.setdefault(record, clock)
    return found
