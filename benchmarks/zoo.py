"""Does every classification model of torchvision infer, and train where it can? Prints a table of results.

python benchmarks/zoo.py                      all models, batch 2, inference and training: 20 min on 2 cores
python benchmarks/zoo.py 'vgg*' 'resnet1?'    only those
"""

from __future__ import annotations

import sys
from fnmatch import fnmatch
from pathlib import Path

from rich.console import Console

import microbench
from microbench.analysis.sweep import sweep
from microbench.options.torchvision import torchvision_models
from microbench.tables.sweep import show_sweep

FEW = {
    "rounds": 1,
    "max_samples": 2,
    "min_time": 0.0,
    "max_warmup": 0.0,
}  # whether they run matters, not how fast


def main(patterns: list[str]) -> int:
    """Run the models and return how many cases failed."""
    names = [name for name in sorted(torchvision_models()) if any(fnmatch(name, each) for each in patterns)]
    folder = Path("outputs/zoo")
    (folder / "records.jsonl").unlink(missing_ok=True)
    result = microbench.sweep(model=names, mode=["infer", "train"], batch_size=2, measure=FEW, folder=folder)
    cases = result.cases()
    failed = [case.first for case in cases if case.status != "ok"]
    out = Console(width=200, highlight=False)
    show_sweep(sweep(cases), out)
    for record in failed:
        config, outcome = record.case.config, record.outcome
        out.print(f"{config.model.name} {config.mode.name}: {outcome.status.value}: {outcome.error}")
    out.print(f"{len(names)} models, {len(cases)} cases, {len(cases) - len(failed)} ok, {len(failed)} failed")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["*"]))
