"""The size of a report's page, and how long Chromium takes to open it.

    python benchmarks/page.py

The cases are simulated: models by batches, modes and engines, six rounds each, 40 samples in each series, a
profile of a deep model, and some cases that failed. A page of 200 cases must be below 3 MB; one of 2,000
series must open in less than 2 s, from the request of the file to the end of its script. The exit code is 1
if either is not so. Without chromium and chromedriver, only the size is checked.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import pytest
from browser import browser, errors
from factory import call_of, configured, record_of

from microbench.analysis.page import page
from microbench.config import ModelConfig
from microbench.records.cases import cases_of
from microbench.records.peaks import Peaks
from microbench.records.record import BenchmarkWarning, Kind, RoundRecord, Status, WarningCode
from microbench.tables.page import html

MOST_BYTES, CASES = 3e6, 200
MOST_SECONDS, SERIES = 2.0, 2000
ROUNDS, SAMPLES = 6, 40
PARTS = {"forward": 0.3, "loss": 0.02, "backward": 0.6, "update": 0.08, "total": 1.0}
ENGINES = {"eager": 1.0, "compile": 0.8, "onnxruntime": 0.7, "openvino": 0.65}
MODELS = ("resnet18", "resnet50", "mobilenet_v2", "vgg16", "densenet121", "vit_b_16", "efficientnet_b0")
DRIFT = BenchmarkWarning(WarningCode.DRIFT, "samples drift by 3 % from the first to the last")


def simulated(seed: int = 1) -> Iterator[list[RoundRecord]]:
    """Yield the records of one case after another: of a profile, then of inference, then of training."""
    rng = random.Random(seed)
    yield [profile(rng)]
    axes = product(("infer", "train"), (1, 2, 4, 8, 16, 32, 64), MODELS, ENGINES)
    for order, (mode, batch, model, engine) in enumerate(axes, start=1):
        config = configured(
            model=ModelConfig("torchvision", model, input_shape=[3, 224, 224]),
            mode=mode,
            batch_size=batch,
            engine=engine,
        )
        seconds = 0.01 * (1 + MODELS.index(model)) * batch**0.9 * ENGINES[engine]
        phases = PARTS if mode == "train" else {"inference": 1.0}
        failed = {"status": Status.OOM, "error": "out of memory"} if rng.random() < 0.03 else {}
        yield [
            record_of(
                {} if failed else {phase: samples(rng, seconds * share) for phase, share in phases.items()},
                config,
                order=order,
                round=number,
                peak_memory=int(2**28 + batch * 2**24),
                warnings=(DRIFT,) if rng.random() < 0.1 else (),
                **failed,
            )
            for number in range(ROUNDS)
        ]


def samples(rng: random.Random, seconds: float) -> list[float]:
    """Return samples around a time, a few of them far above it."""
    around = seconds * rng.lognormvariate(0, 0.02)
    return [
        around * rng.lognormvariate(0, 0.03) * (1.5 if rng.random() < 0.02 else 1) for _ in range(SAMPLES)
    ]


def profile(rng: random.Random) -> RoundRecord:
    """Return a profile of 300 calls in 30 modules."""
    calls = [call_of(0, "", Kind.CONTAINER, "Net", 0, times=[0.1] * 5)]
    for block in range(30):
        calls.append(call_of(len(calls), f"{block}", Kind.CONTAINER, "Block", 1, times=[0.1 / 30] * 5))
        for place in range(10):
            name, took = f"{block}.{place}", 0.1 / 300 * rng.uniform(0.8, 1.0)
            calls.append(
                call_of(
                    len(calls),
                    name,
                    Kind.MODULE,
                    rng.choice(("Conv2d", "BatchNorm2d", "ReLU", "Linear")),
                    2,
                    times=[took] * 5,
                    flops=rng.randrange(10**6, 10**9),
                    mem_r=10**6,
                    mem_w=10**6,
                )
            )
    peaks = Peaks(
        fp32=1e12,
        bf16=2e12,
        fp32_by="matmul",
        bf16_by="matmul",
        bandwidths=((10**5, 1e11), (10**8, 2e10)),
        call_seconds=1e-6,
    )
    config = configured(
        mode="profile", model=ModelConfig("torchvision", "resnet50", input_shape=[3, 224, 224])
    )
    return record_of({"inference": 0.1}, config, calls=calls, peaks=peaks)


def written(records: list[RoundRecord], path: Path) -> tuple[int, float]:
    """Write the page of some records; return its bytes, and the seconds that it took to make it."""
    start = time.perf_counter()
    text = html(page(cases_of(records)), [str(path.parent)])
    seconds = time.perf_counter() - start
    return path.write_bytes(text.encode()), seconds


def opened(path: Path, profile_folder: Path) -> tuple[float, list[str]]:
    """Return the least seconds of three in which Chromium opens a page, and the errors on its console."""
    script = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
    with browser(profile_folder) as driver:
        seconds = []
        for _ in range(3):
            driver.get(path.as_uri())
            seconds.append(driver.execute_script(script) / 1e3)
        return min(seconds), errors(driver)


def main() -> int:
    """Print the table; return 1 if a limit is exceeded."""
    cases = list(simulated())
    few = [record for case in cases[:CASES] for record in case]
    counts = [sum(len(record.series) for record in case) for case in cases]
    enough = next(number for number in range(len(cases)) if sum(counts[:number]) >= SERIES)
    many = [record for case in cases[:enough] for record in case]
    with TemporaryDirectory() as base:
        folder = Path(base)
        size, made = written(few, folder / "few.html")
        print(f"{f'{CASES} cases':40} {size / 1e6:8.2f} MB   (at most {MOST_BYTES / 1e6:.0f})")
        print(f"{'  to make it':40} {made:8.2f} s")
        number = sum(len(record.series) for record in many)
        size_of_many, made = written(many, folder / "many.html")
        print(f"{f'{enough} cases, {number} series':40} {size_of_many / 1e6:8.2f} MB")
        print(f"{'  to make it':40} {made:8.2f} s")
        try:
            seconds, told = opened(folder / "many.html", folder / "profile")
        except pytest.skip.Exception as skipped:
            print(f"  not opened: {skipped}")
            return int(size > MOST_BYTES)
    print(f"{'  to open it':40} {seconds:8.2f} s    (at most {MOST_SECONDS:.0f})")
    print(*told, sep="\n", end="\n" if told else "")
    return int(size > MOST_BYTES or seconds > MOST_SECONDS or bool(told))


if __name__ == "__main__":
    sys.exit(main())
