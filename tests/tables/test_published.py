"""The table of measured and published figures."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from factory import told

from microbench.config import ExperimentConfig
from microbench.records.record import GpuReadings, MemorySource, RoundRecord
from microbench.tables.published import show_reference

from .support import INFER, TRAIN, MakeCase, Rendered, cases

CONVNET = ExperimentConfig("convnet_mkldnn", "convnet_benchmark_pytorch")
PHASES = ExperimentConfig("model_phases", "deep_learning_benchmarks")
TIMING = ExperimentConfig("torchvision_timing", "torchvision_pretrained_timing")


@pytest.fixture
def resnext(make_case: MakeCase) -> Any:
    """Return a function that makes records of ResNeXt-101's inference with a given time in seconds."""

    def make(seconds: float, order: int, **settings: Any) -> list[RoundRecord]:
        options = {"model": "resnext101_32x8d", "mode": "infer", "batch_size": 1, "experiment": CONVNET}
        return make_case({"inference": (seconds, None)}, order=order, **(options | settings))

    return make


@pytest.fixture
def shown(rendered: Rendered) -> Any:
    """Return a function that prints the table for records and returns its lines."""

    def show(*made: list[RoundRecord]) -> list[str]:
        return rendered(using=partial(show_reference, cases(*made)))

    return show


def test_each_variant_has_its_ratio_here_and_as_published(resnext: Any, shown: Any) -> None:
    made = [
        resnext(0.300, 0),
        resnext(0.600, 1, layout="mkldnn", cache_weights=False),
        resnext(0.250, 2, layout="mkldnn"),
    ]
    lines = shown(*made)
    assert lines[1] == "published results: convnet-benchmark-pytorch"
    assert lines[2] == "published: Intel Xeon Platinum 8180 @ 2.50GHz, torch 1.2.0 / torchvision 0.4.0"
    header, *table = lines[3:10]
    assert header.split("  ")[0] == "model"
    assert header.split()[-4:] == ["here", "speedup", "published", "speedup"]
    assert [line.rpartition("inference  ")[2].split() for line in table[::2]] == [
        ["300", "ms", "1.00", "92.5", "ms", "1.00"],
        ["600", "ms", "0.50", "43.3", "ms", "2.14"],
        ["250", "ms", "1.20", "32.4", "ms", "2.86"],
    ]
    assert "mkldnn layout, weight uncached" in table[2]
    assert table[1].split()[-4:] == ["3.33", "1.00", "10.8", "1.00"]  # images/s
    assert "inference images/s" in table[1]
    assert lines[10].startswith("other machines: compare ratios, not times. speedup: how many")


def test_a_case_that_failed_has_its_status_in_place_of_its_time(resnext: Any, shown: Any) -> None:
    failed = resnext(0.1, 1, layout="mkldnn", status="skipped", error="no oneDNN here")
    lines = shown(resnext(0.300, 0), failed)
    assert next(line for line in lines if "mkldnn layout" in line).split()[-4:] == [
        "skipped",
        "32.4",
        "ms",
        "2.86",
    ]


def test_several_machines_are_distinguished_by_letters(make_case: MakeCase, shown: Any) -> None:
    options = {"model": "vgg16", "batch_size": 8, "experiment": PHASES}
    lines = shown(make_case(TRAIN, order=0, **options), make_case(INFER, mode="infer", order=1, **options))
    assert lines[2] == "A: Titan 1080Ti 12 GB, Pytorch 0.4.1"
    assert lines[5].startswith("D: Intel(R) Xeon(R) Silver 4114 CPU @ 2.20GHz, Flux")
    header = lines[6].split()
    assert [word for word in header if len(word) == 1 and word.isalpha()] == ["A", "B", "C", "D"]
    table = {line.split()[2]: line.split() for line in lines[7:11]}
    assert list(table) == ["forward", "backward", "total", "inference"]
    assert table["backward"][3:10] == ["20.0", "ms", "±1.5", "%", "2.00", "60.6", "ms"]
    assert any(line.startswith("published total is forward and backward") for line in lines)


def test_a_narrow_terminal_shows_published_figures_in_several_tables(
    make_case: MakeCase, rendered: Rendered
) -> None:
    found = cases(make_case(TRAIN, model="vgg16", batch_size=8, experiment=PHASES))
    lines = rendered(using=partial(show_reference, found), width=90)
    headers = [line.split()[3:] for line in lines if line.startswith("model ")]
    assert headers[0] == ["here", "ratio", "A", "ratio", "B", "ratio"]
    assert headers[1] == ["here", "ratio", "C", "ratio", "D", "ratio"]
    assert max(map(len, lines[6:14])) <= 90
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize(
    ("grad", "published"), [(True, ["110", "MiB", "1.00"]), (False, ["MiB", "1.00", "–"])]
)
def test_memory_on_a_gpu_is_written_in_bytes_and_beside_memory_of_the_same_kind(
    grad: bool, published: list[str], make_case: MakeCase, shown: Any
) -> None:
    options = {
        "model": "resnet18",
        "mode": "infer",
        "batch_size": 1,
        "experiment": TIMING,
        "mode__grad": grad,
    }
    gpu = GpuReadings(process=720 * 2**20, context=500 * 2**20, memory_source=MemorySource.PROCESS_GROUP)
    lines = shown(told(make_case(INFER, **options), peak_memory=100 * 2**20, gpu=gpu))
    row = next(line for line in lines if "inference GPU memory" in line)
    assert "220 MiB" in row
    assert row.split()[-3:] == published
    assert any("published one was taken with autograd on" in line for line in lines)


def test_a_batch_that_was_not_published_is_reported(resnext: Any, make_case: MakeCase, shown: Any) -> None:
    (line, *_) = [line for line in shown(resnext(0.1, 0, batch_size=4)) if "none for these" in line]
    assert line == "none for these cases: the table has resnext101_32x8d at batch 1"
    options = {"mode": "infer", "batch_size": 8, "experiment": PHASES}
    vgg, resnet = (
        make_case(INFER, model=name, order=order, **options)
        for order, name in enumerate(("vgg16", "resnet101"))
    )
    assert "resnet101 was published at batch 4" in shown(vgg, resnet)


def test_a_run_without_a_table_prints_nothing(make_case: MakeCase, shown: Any) -> None:
    assert shown(make_case(INFER, mode="infer"), make_case(INFER, mode="infer", order=1)) == []


def test_a_table_that_this_version_does_not_have_is_reported(resnext: Any, shown: Any) -> None:
    (line,) = shown(resnext(0.1, 0, experiment=ExperimentConfig("x", "of_the_future")))
    assert line.startswith("Unknown experiment.reference 'of_the_future'.")
