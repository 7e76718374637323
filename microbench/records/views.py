"""Records for SQL: the views `rounds`, `series`, `samples` and `calls` of DuckDB.

The views do what the package does: a round counts once, of its attempts the first that ended well, and rounds
that something else disturbed do not count where there are enough others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from microbench.records.cases import ENOUGH
from microbench.records.journal import CALLS, CASES, MACHINES, ROUNDS, TABLES, Tables, is_text
from microbench.records.record import Status, Summary

if TYPE_CHECKING:
    import duckdb

MEMORY_LIMIT = "2GB"

VIEWS = {
    "rounds": "one row per round: the attempt that counts, or if none ended well, the last",
    "series": "one row per phase of each round that ended well: its summary, in seconds per call",
    "samples": "one row per sample of these, in order, and per step of their warm-up, in seconds",
    "calls": "one row per call that a profile's rounds found: shapes, costs, times in seconds",
}
"""What each view has."""

AXES = [name for name in CASES if name.startswith(("cfg_", "layer"))]
OF_A_RUN = [
    name
    for name in CASES
    if name not in (*AXES, "run_id", "case_id", "order", "command", "config", "training")
]
ENVIRONMENT = [name for name in MACHINES if name not in ("host_id", "extra")]
OF_PROCESS = [name for name in ROUNDS if name.startswith("env_") and name != "env_peaks"]
HOW_IT_ENDED = [
    name
    for name in ROUNDS
    if name not in (*OF_PROCESS, "case", "machine", "identity", "schema_version", "round")
]


def _terms(table: str, names: Iterable[str], prefix: str = "") -> str:
    """Return the terms that select a table's columns under their short names; texts are no enumerations."""
    return ", ".join(
        f'{table}."{name}"{"::varchar" if is_text(TABLES[table][name]) else ""} '
        f'as "{prefix}{name.removeprefix("cfg_")}"'
        for name in names
    )


IDENTITY = f"""{_terms("cases", ("run_id", "case_id"))}, cases."order" as case_order,
{_terms("machines", ("host_id",))}, rounds.round as round, chosen.counts as counts"""

JOINED = """chosen
join stored.rounds as rounds on rounds.place = chosen.place
join stored.cases as cases on cases.place = rounds."case"
join stored.machines as machines on machines.place = rounds.machine"""

SETUP = f"""
create table stored.chosen as
select place, ended_well, ended_well and (not disturbed or quiet < {ENOUGH}) as counts
from (
    select *,
        count(*) filter (where ended_well and not disturbed) over (partition by run_id, "order") as quiet
    from (
        select rounds.place, run_id, "order", disturbed, status = '{Status.OK}' as ended_well
        from stored.rounds as rounds join stored.cases as cases on cases.place = rounds."case"
        qualify row_number() over (
            partition by run_id, "order", round
            order by ended_well desc, if(ended_well, rounds.place, -rounds.place)
        ) = 1
    )
);

create view rounds as
select {IDENTITY}, {_terms("rounds", HOW_IT_ENDED)}, {_terms("cases", AXES)}, {_terms("cases", OF_A_RUN)},
{_terms("cases", ("command", "config"))}, {_terms("machines", ENVIRONMENT)}, {_terms("rounds", OF_PROCESS)}
from stored.{JOINED};

create view series as
select {IDENTITY}, {_terms("cases", AXES)}, {_terms("series", ("phase", "role", "of_layers", "clock"))},
{_terms("series", ("calls_per_sample", "resolution", *Summary.__struct_fields__))},
coalesce(rounds.items, cases.cfg_batch_size) as items, {_terms("rounds", ("item", "peak_memory", "joules"))},
{_terms("machines", ENVIRONMENT)}, {_terms("rounds", OF_PROCESS)}
from stored.{JOINED} join stored.series as series on series.record = rounds.place
where chosen.ended_well;

create view stored.lists as
select {IDENTITY}, {_terms("cases", AXES)}, {_terms("series", ("phase", "role", "calls_per_sample"))},
series.samples, series.warmup
from stored.{JOINED} join stored.series as series on series.record = rounds.place
where chosen.ended_well;

create view samples as
select * exclude (samples, warmup), false as is_warmup,
generate_subscripts(samples, 1) - 1 as number, unnest(samples) as seconds from stored.lists
union all
select * exclude (samples, warmup), true as is_warmup,
generate_subscripts(warmup, 1) - 1 as number, unnest(warmup) as seconds from stored.lists;

create view calls as
select {IDENTITY}, {_terms("cases", (name for name in AXES if name.startswith("cfg_")))},
calls."index" as call_index, calls."order" as call_order,
{_terms("calls", (name for name in CALLS if name not in ("record", "index", "order")))},
list_median(calls.times) as median
from stored.{JOINED} join stored.calls as calls on calls.record = rounds.place
where chosen.ended_well;
"""


@contextmanager
def connected(tables: Tables) -> Iterator[duckdb.DuckDBPyConnection]:
    """Return a connection with the views of tables, for which nothing outside of it exists."""
    import duckdb
    import numpy as np
    import pyarrow as pa

    with (
        TemporaryDirectory(prefix="microbench-") as spilled,
        duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": spilled}) as found,
    ):
        found.execute("create schema stored; set schema = 'stored'")
        for name, table in tables.items():
            places = pa.array(np.arange(len(table)))
            found.from_arrow(table.append_column("place", places)).create_view(name)
        found.execute("set schema = 'main'")
        found.execute(SETUP)
        found.execute("set enable_external_access = false; set lock_configuration = true")
        yield found


def columns_of(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """Return the columns of each view."""
    rows = connection.execute(
        "select table_name, column_name from duckdb_columns() "
        "where schema_name = 'main' and not internal order by column_index"
    ).fetchall()
    return {view: [column for name, column in rows if name == view] for view in VIEWS}
