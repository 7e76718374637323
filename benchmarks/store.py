"""What loading many results costs: seconds and memory, from the journals and from the cache.

    python benchmarks/store.py [--series 1000000] [--runs 20] [--folder DIR]

The rounds are varied from one that is measured here, of training a layer: other models, engines and batch
sizes, six rounds a case, and times that differ in all their digits, 20 samples a phase. Each load is in a
process of its own: `microbench.load("DIR/**").to_frame()`, all columns. Its seconds are printed without and
with the imports (of pandas, mostly), and its peak memory with that of the processes that it starts. The
limits are those of two free cores: beside other work, see the CPU seconds. The script fails if one is
exceeded. With `--folder`, the journals are kept and used again.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from dataclasses import replace as changed
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

import microbench
from microbench.records.record import Role, RoundRecord, Series, Summary, encode

ROUNDS, SAMPLES = 6, 20
ENGINES = ("eager", "compile", "onnxruntime")
LIMITS = {"journals": 10.0, "cache": 1.0}
"""Seconds to load a million series."""
MEMORY_LIMIT = 4096
"""MiB."""
LOADING = """
import resource, sys, time
begin = time.perf_counter()
import pandas, pyarrow.parquet
import microbench, microbench.records.cache, microbench.records.dataframe
imported = time.perf_counter()
frame = microbench.load(sys.argv[1]).to_frame()
done = time.perf_counter()
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
cpu = sum(each.ru_utime + each.ru_stime for each in used)
memory = used[0].ru_maxrss + 2 * used[1].ru_maxrss
print(len(frame), done - imported, done - begin, cpu, memory / 2**10)
"""


def measured(folder: Path) -> RoundRecord:
    """Return the record of a round of training a small layer."""
    quick = {"rounds": 1, "max_time": 0.1, "max_warmup": 0.1}
    return microbench.run(folder=folder, model="dense", mode="train", device="cpu", measure=quick).records[0]


def write(record: RoundRecord, rounds: int, run: int, folder: Path) -> None:
    """Write the journal of a run with rounds like this one."""
    draw = random.Random(run)
    folder.mkdir(parents=True)
    info = replace(record.run, id=f"20260101-{run:06}-00000000")
    with (folder / "records.jsonl").open("wb") as file:
        for turn in range(rounds):
            case, number = divmod(turn, ROUNDS)
            file.write(encode(varied(replace(record, run=info, turn=turn, round=number), case, draw)) + b"\n")


def varied(record: RoundRecord, case: int, draw: random.Random) -> RoundRecord:
    """Return a round of another case, with other times."""
    given = record.case.config
    config = changed(
        given,
        batch_size=1 + case % 64,
        model=changed(given.model, name=f"model{case // 64 % 40}"),
        engine=changed(given.engine, name=ENGINES[case // 64 // 40 % len(ENGINES)]),
    )
    command = f"{record.case.command} seed={case}"
    spec = replace(record.case, id=f"{case:012x}", order=case, command=command, config=config)
    factor = draw.lognormvariate(0, 1)
    return replace(
        record,
        case=spec,
        started_at=f"2026-01-01T00:00:00.{record.turn:09}+00:00",
        machine=replace(record.machine, load_average=draw.random()),
        series=tuple(scaled(each, factor, draw) for each in record.series),
    )


def scaled(series: Series, factor: float, draw: random.Random) -> Series:
    """Return a series with other times; its summary is as long as a real one, not that of these samples."""
    assert series.summary is not None
    median = series.summary.median * factor
    n = 1 if series.role is Role.ONCE else SAMPLES
    samples = [median * (0.95 + draw.random() / 10) for _ in range(n)]
    figures = {
        name: value * factor
        for name in Summary.__struct_fields__
        if isinstance(value := getattr(series.summary, name), float)
    }
    return replace(series, samples=samples, summary=replace(series.summary, **figures | {"n": n}))


def loading(folder: Path, cache: Path) -> list[float]:
    """Return rows, seconds, seconds with imports, CPU seconds and MiB of loading a folder in a process."""
    done = subprocess.run(
        [sys.executable, "-c", LOADING, f"{folder}/**"],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(each) for each in done.stdout.split()]


def main() -> int:
    """Print the table; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with TemporaryDirectory() as base:
        folder = given.folder or Path(base) / "outputs"
        if not folder.exists():
            record = measured(Path(base) / "one")
            rounds = given.series // given.runs // len(record.series)
            for run in range(given.runs):
                write(record, rounds, run, folder / f"run{run:04}")
        size = sum(each.stat().st_size for each in folder.rglob("records.jsonl"))
        found = {source: loading(folder, Path(base) / "cache") for source in LIMITS}
    print(f"{found['cache'][0]:,.0f} series in {given.runs} runs, {size / 1e6:,.0f} MB of journals")
    print(f"{'from':9} {'seconds':>8} {'limit':>6} {'with imports':>13} {'CPU s':>6} {'MiB':>6} {'limit':>6}")
    for source, (_, seconds, whole, cpu, memory) in found.items():
        limit = LIMITS[source]
        print(
            f"{source:9} {seconds:8.2f} {limit:6.1f} {whole:13.2f} {cpu:6.1f} {memory:6.0f} {MEMORY_LIMIT:6}"
        )
    return int(any(f[1] > LIMITS[source] or f[4] > MEMORY_LIMIT for source, f in found.items()))


if __name__ == "__main__":
    sys.exit(main())
