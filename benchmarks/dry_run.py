"""The time and memory of profiling every classification model of torchvision by a dry run.

python benchmarks/dry_run.py
"""

from __future__ import annotations

import resource
import time
import warnings

import torch

from microbench.config import ModelConfig
from microbench.options.torchvision import DEFAULTS, torchvision_models
from microbench.profile.dry_run import dry_run
from microbench.profile.study import Study
from microbench.workloads import build
from microbench.workloads.parts.deferred import Deferred

UNUSUAL = {"inception_v3": [3, 299, 299]}


def main() -> None:
    """Profile each model and print its time, multiply-accumulates and parameters; finally, the totals."""
    warnings.simplefilter("ignore")
    seconds = 0.0
    others = (*DEFAULTS, "quantization")
    names = [name for name, family in sorted(torchvision_models().items()) if family not in others]
    for name in names:
        start = time.perf_counter()
        config = ModelConfig(source="torchvision", name=name, input_shape=UNUSUAL.get(name, [3, 224, 224]))
        with Deferred():
            workload = build(config, 1, torch.device("cpu"), False, 0)
        with torch.no_grad():
            rows = Study(dry_run(workload.module, workload.inputs)).rows()
        taken = time.perf_counter() - start
        seconds += taken
        macc = sum(row.macc or 0 for row in rows)
        print(
            f"{name:20} {taken:6.2f} s {macc / 1e9:8.2f} GMAC {(rows[0].params or 0) / 1e6:7.2f} M",
            flush=True,
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{len(names)} models in {seconds:.1f} s, with at most {peak:.2f} GiB of memory")


if __name__ == "__main__":
    main()
