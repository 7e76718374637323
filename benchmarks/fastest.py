"""How long does a search for the fastest configuration take, and is its answer that of an exhaustive run?

    python benchmarks/fastest.py [--models resnet50 …] [--seeds 3] [--budget 150] [--rounds 6] [OPTION …]

For each model, every candidate of `+experiment=fastest` and plain eager are measured in `--rounds`
interleaved processes, whatever they take up to `--timeout`; then the search is run with each seed, as a
command. An answer is wrong if the exhaustive run says that another configuration is faster, at 5 % among all
its comparisons. Variations of a candidate (allocator, threads) count as the candidate. OPTIONs are added to
all commands, such as `precision=fp32`. As on an older CPU: ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2.
Exits with the number of wrong answers.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from microbench.analysis.search import search_result
from microbench.analysis.verdict import contrast
from microbench.config import PLAIN
from microbench.distribution import CONF
from microbench.records.cases import CaseResult
from microbench.records.result import load
from microbench.records.settings import work_of

MODELS = ("resnet50", "mobilenet_v3_large", "vit_b_16")
VARIED = ("allocator", "threads")  # by the search alone
LEVEL = 0.05


def measured(folder: Path, *arguments: str) -> tuple[float, list[CaseResult]]:
    """Run a command; return the seconds that it took and its cases. It may fail: not every case runs here."""
    start = time.monotonic()
    command = [sys.executable, "-m", "microbench", *arguments, f"hydra.run.dir={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - start
    if done.returncode > 1:
        sys.exit(done.stderr)
    return seconds, load(folder).cases()


def exhaustive(folder: Path, work: Sequence[str], rounds: int, timeout: float) -> list[CaseResult]:
    """Measure plain eager and every candidate; return those that count, the fastest first."""
    preset = yaml.safe_load((CONF / "experiment" / "fastest.yaml").read_text("utf-8"))
    plain = [f"{name}={PLAIN[name]}" for name in ("engine", "precision", "layout")]
    preset["experiment"] |= {
        "name": "exhaustive",
        "search": False,
        "ways": [plain, *preset["experiment"]["ways"]],
    }
    preset["measure"] |= {"rounds": rounds}
    place = folder / "conf" / "experiment"
    place.mkdir(parents=True)
    (place / "exhaustive.yaml").write_text("# @package _global_\n" + yaml.safe_dump(preset))
    options = [f"--config-dir={folder / 'conf'}", "+experiment=exhaustive", f"timeout={timeout:g}"]
    _, cases = measured(folder / "exhaustive", *options, *work)
    counting = [case for case in cases if case.can_win and case.whole is not None]
    return sorted(counting, key=lambda case: case.whole.median if case.whole else 0.0)


def configuration(case: CaseResult) -> dict[str, str]:
    """Return the settings that distinguish a candidate, without what a search varies."""
    return {key: value for key, value in work_of(case).items() if key not in VARIED}


def judged(winner: CaseResult, best: Sequence[CaseResult]) -> tuple[str, bool]:
    """Return how a search's winner compares with the exhaustive run's, and whether it is wrong."""
    same = next((case for case in best if configuration(case) == configuration(winner)), None)
    if same is None:
        return "not in the exhaustive run", True
    if same is best[0]:
        return "the same", False
    assert same.whole is not None
    ratio = contrast(best[0], same, same.whole.phase).ratio
    is_wrong = ratio.value > 1 and ratio.p is not None and ratio.p * (len(best) - 1) <= LEVEL
    low, high = ratio.interval or (0.0, float("inf"))
    text = f"{ratio.value:.2f} times as long ({low:.2f} to {high:.2f})"
    return f"{text}: {'wrong' if is_wrong else 'within the noise'}", is_wrong


def name_of(case: CaseResult) -> str:
    """Return a case's engine, precision and layout."""
    return f"{case.config.engine.name} {case.config.precision.name} {case.config.layout}"


def main() -> int:
    """Print one row per model and seed; return the number of wrong answers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument(
        "--seeds", type=int, default=3, help="of the search's order, each a search of its own"
    )
    parser.add_argument("--budget", type=float, help="experiment.budget; by default the search's own")
    parser.add_argument("--rounds", type=int, default=6, help="of each case of the exhaustive run")
    parser.add_argument(
        "--timeout", type=float, default=120, help="seconds for a round of the exhaustive run"
    )
    parser.add_argument("options", nargs="*", metavar="OPTION")
    arguments = parser.parse_args()
    budget = [] if arguments.budget is None else [f"experiment.budget={arguments.budget:g}"]
    wrong = 0
    print(f"{'model':20} {'seed':>4} {'seconds':>7}  {'answer':36} {'exhaustive':36} verdict", flush=True)
    for model in arguments.models:
        work = (f"model={model}", "batch_size=1", "mode=infer", *arguments.options)
        with tempfile.TemporaryDirectory() as folder:
            best = exhaustive(Path(folder), work, arguments.rounds, arguments.timeout)
            for seed in range(arguments.seeds):
                options = ("+experiment=fastest", f"schedule_seed={seed}", *budget)
                seconds, cases = measured(Path(folder) / f"search{seed}", *options, *work)
                found = search_result(cases)
                winner = cases[0] if found is None else found.winner.case
                verdict, is_wrong = judged(winner, best)
                wrong += is_wrong
                answers = f"{name_of(winner):36} {name_of(best[0]):36}"
                print(f"{model:20} {seed:4} {seconds:7.0f}  {answers} {verdict}", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
