"""The cost of records: the bytes of a profile, and the seconds and memory of loading many rounds.

    python benchmarks/records.py [--rounds 3334] [--model mobilenet_v2]

The profile is of one round, measured here. The rounds to load are copies of a record that a process measured,
each with 6 series of 40 samples, written by the package's own encoder. Each load is in a process of its own,
whose peak memory is printed with that of one that only imports the package.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

import microbench
from microbench.records.record import RoundRecord, Series, encode
from microbench.records.summary import summarize

SERIES, SAMPLES = 6, 40
LOADING = """
import resource, sys, time
import microbench.records.result as result

start = time.perf_counter()
if len(sys.argv) > 1:
    len(result.load(sys.argv[1]).records)  # decodes them
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)
"""


def profiled(model: str, folder: Path) -> tuple[int, int, int]:
    """Return the bytes of a profile of one round, its calls, and how often each was timed."""
    result = microbench.run(
        folder=folder, model=model, mode="profile", device="cpu", batch_size=1, measure={"rounds": 1}
    )
    calls = result.records[0].calls
    return result.path.stat().st_size, len(calls), len(calls[0].times)


def measured(folder: Path) -> RoundRecord:
    """Return the record of one round of a small case."""
    quick = {"rounds": 1, "max_time": 0.1, "max_warmup": 0.1}
    return microbench.run(folder=folder, model="dense", device="cpu", measure=quick).records[0]


def write(record: RoundRecord, rounds: int, path: Path) -> None:
    """Write `rounds` rounds, with times that differ in all their digits."""
    with path.open("wb") as file:
        for number in range(rounds):
            times = [1e-3 * (1 + (number * SAMPLES + sample) % 997 / 7e4) for sample in range(SAMPLES)]
            summary = summarize(times)
            series = [
                Series(f"phase{index}", "perf_counter_ns", times, summary=summary) for index in range(SERIES)
            ]
            file.write(encode(replace(record, round=number, series=tuple(series))) + b"\n")


def loading(*path: Path) -> tuple[float, float]:
    """Return the seconds of loading a file in a process of its own, and its peak memory in MiB."""
    command = [sys.executable, "-c", LOADING, *map(str, path)]
    seconds, memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(memory)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3334)
    parser.add_argument("--model", default="mobilenet_v2")
    given = parser.parse_args()
    with TemporaryDirectory() as base:
        folder, path = Path(base), Path(base) / "many.jsonl"
        profile, calls, times = profiled(given.model, folder / "profile")
        write(measured(folder / "one"), given.rounds, path)
        size = path.stat().st_size
        _, imported = loading()
        seconds, memory = min(loading(path) for _ in range(3))
    print(f"{f'{given.model}: {calls} calls, {times} times each':48} {profile:12,} bytes")
    print(f"{f'{given.rounds:,} rounds, {given.rounds * SERIES:,} series of {SAMPLES}':48} {size:12,} bytes")
    print(f"{'to load them':48} {seconds:12.2f} s")
    print(f"{'peak memory':48} {memory:12.0f} MiB, of which {imported:.0f} MiB after importing")


if __name__ == "__main__":
    main()
