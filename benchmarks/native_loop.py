"""Does the C++ loop of engine=libtorch measure the same as Python's loop for the same traced module?

    python benchmarks/native_loop.py [--rounds 10] [--seconds 3] [--threads N] [MODEL …]

Each round runs engine=torchscript and engine=libtorch in fresh processes, in a random order, with one image
per call. The ratio of a round is libtorch's median over torchscript's. It prints the geometric mean of the
rounds' ratios and its 95 % CI (Student's t over the logarithms). The first row is a module that does nothing:
the difference there is the additional cost of a call from Python. `expected` is the ratio if nothing else
differs, and an interval that contains it shows no other difference.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from statistics import median
from typing import Any

from fidelity import interval

import microbench
from microbench.system.cpus import physical_cores

PYTHON, CPP = "torchscript", "libtorch"
NOTHING = {"model": "layer", "model.cls": "torch.nn.Identity", "model.input_shape": [[1]]}


def medians(options: Mapping[str, Any], rounds: int, seconds: float, threads: int) -> dict[str, list[float]]:
    """Return each engine's medians by round, in seconds per call."""
    with tempfile.TemporaryDirectory() as folder:
        result = microbench.sweep(
            folder=folder,
            engine=[PYTHON, CPP],
            mode="infer",
            device="cpu",
            batch_size=1,
            threads=threads,
            verify=False,
            measure={
                "rounds": rounds,
                "rel_ci": 1e-9,
                "max_time": seconds,
                "max_warmup": seconds,
                "max_samples": 1_000_000,
            },
            **options,
        )
    found: dict[str, list[float]] = {PYTHON: [], CPP: []}
    for case in result.cases():
        if not case.ok:
            raise SystemExit(next(iter(case.failures.values())).outcome.error)
        found[case.config.engine.name] += case.estimates["inference"].medians.values()
    return found


def row(name: str, found: Mapping[str, list[float]], overhead: float) -> bool:
    """Print a model's row; return whether its interval contains the expected ratio."""
    ratio, low, high = interval([cpp / python for python, cpp in zip(found[PYTHON], found[CPP], strict=True)])
    python, cpp = median(found[PYTHON]), median(found[CPP])
    expected = 1 - overhead / python
    holds = low <= expected <= high
    print(
        f"{name:18} {python * 1e6:12.1f} {cpp * 1e6:12.1f} {ratio:6.3f}  {low:.3f} to {high:.3f}"
        f"  {expected:9.5f}  {'same' if holds else 'differs'}",
        flush=True,
    )
    return holds


def main() -> int:
    """Print one row per model; return how many intervals do not contain the expected ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0, help="of sampling per round and engine")
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("models", nargs="*", default=["resnet50"], metavar="MODEL")
    arguments = parser.parse_args()
    settings = arguments.rounds, arguments.seconds, arguments.threads
    nothing = medians(NOTHING, *settings)
    overhead = median(nothing[PYTHON]) - median(nothing[CPP])
    print(f"{'model':18} {PYTHON + ' µs':>12} {CPP + ' µs':>12} {'ratio':>6}  95 % CI   expected")
    row("nothing", nothing, overhead)
    found = [row(model, medians({"model": model}, *settings), overhead) for model in arguments.models]
    return sum(not holds for holds in found)


if __name__ == "__main__":
    sys.exit(main())
