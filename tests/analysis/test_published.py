"""Published figures as data, and which of them a measured case is compared with."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torchvision
from factory import told
from msgspec.structs import replace

from microbench.analysis import published, published_files, published_tables
from microbench.analysis.published import Cell, Row
from microbench.api import Result
from microbench.cli.list import options
from microbench.errors import UserError
from microbench.records.cases import CaseResult, cases_of
from microbench.records.record import GpuReadings, MemorySource, RoundRecord, Status

XEON = ("Intel Xeon Platinum 8180 @ 2.50GHz", "torch 1.2.0 / torchvision 0.4.0")
TITAN = ("Titan 1080Ti 12 GB", "Pytorch 0.4.1")
RESNEXT = {"model__name": "resnext101_32x8d", "model__input_shape": [3, 224, 224], "batch_size": 1}
RESNET = RESNEXT | {"model__name": "resnet50"}
MKLDNN = {"layout": "mkldnn"}
UNCACHED = MKLDNN | {"cache_weights": False}

Timed = Callable[..., list[RoundRecord]]


def rows(name: str, *made: list[RoundRecord]) -> list[Row]:
    """Return the rows of these cases in a table."""
    return published.rows(
        cases_of([record for records in made for record in records]), published_files.load(name)
    )


def only(made: list[RoundRecord]) -> CaseResult:
    (case,) = cases_of(made)
    return case


def rounded(cell: Cell | None) -> tuple[float, float | None] | None:
    """Return a cell's value and ratio to three digits."""
    if cell is None:
        return None
    return float(f"{cell.value:.3g}"), None if cell.ratio is None else float(f"{cell.ratio:.3g}")


class TestTables:
    @pytest.mark.parametrize("name", published_files.names())
    def test_every_figure_is_read_in_si_units(self, name: str) -> None:
        table = published_files.load(name)
        with (published_tables.FOLDER / f"{name}.csv").open(newline="") as file:
            written = list(csv.DictReader(file))
        assert len(table.figures) == len(written)
        factors = {
            "s": 1,
            "ms": 1e-3,
            "images/s": 1,
            "KB": 1024,
            "pJ": 1e-12,
            "count": 1,
            "FLOP": 1,
            "FLOP/s": 1,
        }
        for figure, row in zip(table.figures, written, strict=True):
            assert figure.value == pytest.approx(float(row["value"]) * factors[row["unit"]])
            assert (figure.workload, figure.batch_size) == (row["workload"], int(row["batch_size"]))
            assert figure.unit in {"s", "1/s", "B", "J", "1", "FLOP", "FLOP/s"}

    @pytest.mark.parametrize("name", published_files.names())
    def test_every_name_of_a_table_has_a_meaning(self, name: str) -> None:
        table = published_files.load(name)
        assert {figure.variant for figure in table.figures} == set(table.variants)
        assert set(table.quantities) <= {figure.quantity for figure in table.figures}
        assert set(table.workloads) <= {figure.workload for figure in table.figures}
        models = {table.model(figure.workload) for figure in table.figures} - {None}
        known = {*torchvision.models.list_models(module=torchvision.models), *options("model")}
        known |= {f"transformers/{each}" for each in options("model/transformers")}
        assert {model for model in models if not model.startswith("timm/")} <= known
        part, value = table.baseline
        assert value in {getattr(figure, part) for figure in table.figures}

    def test_a_missing_table_is_a_user_error(self) -> None:
        with pytest.raises(UserError, match=r"^Unknown experiment\.reference 'porus'\. Did you mean poros\?"):
            published_files.load("porus")


class TestVariants:
    @pytest.mark.parametrize(
        ("settings", "variant"),
        [
            ({}, "native"),
            (UNCACHED, "mkldnn layout, weight uncached"),
            (MKLDNN, "mkldnn layout, weight cached"),
            ({"layout": "channels_last"}, None),
            ({"precision": "bf16"}, None),
            ({"engine": "compile"}, None),
            ({"threads": 1, "allocator": "tuned"}, "native"),
        ],
    )
    def test_a_case_is_the_variant_that_has_its_settings(
        self, settings: dict[str, Any], variant: str | None, timed: Timed
    ) -> None:
        table = published_files.load("convnet_benchmark_pytorch")
        assert table.variant(only(timed([1.0], **RESNEXT, **settings))) == variant

    @pytest.mark.parametrize("engine", ["compile", "openvino", "onnxruntime"])
    def test_several_engines_may_match_one_variant(self, engine: str, timed: Timed) -> None:
        case = only(timed([1.0], **RESNET, engine=engine, engine__freezing=True))
        assert published_files.load("poros").variant(case) == "poros"


class TestPublished:
    def test_figures_are_of_the_same_model_batch_shape_and_variant(self, timed: Timed) -> None:
        table = published_files.load("convnet_benchmark_pytorch")

        def values(**settings: Any) -> list[float]:
            case = only(timed([1.0], **(RESNEXT | settings)))
            return [figure.value for figure in table.published(case, "forward")]

        assert values() == pytest.approx([0.09252])
        assert values(**UNCACHED) == pytest.approx([0.04327])
        assert values(batch_size=16) == []
        assert values(model__input_shape=[3, 256, 256]) == []
        assert values(model__name="resnet50") == []

    def test_a_shape_that_the_model_itself_decides_is_that_of_its_inputs(self, timed: Timed) -> None:
        swin = {
            "model__name": "timm/swin_large_patch4_window7_224",
            "model__input_shape": [],
            "batch_size": 2,
        }
        (record,) = timed({"inference": [1.0]}, **swin)
        table = published_files.load("poros")
        for shape, count in (("2x3x224x224", 1), ("2x3x384x384", 0), (None, 0)):
            outcome = replace(record.outcome, inputs=shape)
            found = table.published(only([replace(record, outcome=outcome)]), "latency")
            assert len(found) == count

    def test_a_shape_that_was_not_stated_makes_no_difference(self, timed: Timed) -> None:
        table = published_files.load("torchvision_pretrained_timing")
        case = only(timed([1.0], **RESNET, model__source="torchvision"))
        (figure,) = table.published(case, "latency")
        assert (figure.input_shape, figure.unit) == ("", "s")

    def test_figures_of_several_machines_are_all_found(self, timed: Timed) -> None:
        phases = {"forward": [0.1], "backward": [0.2], "total": [0.3]}
        (forward, backward, total) = rows(
            "deep_learning_benchmarks",
            timed(phases, mode="train", **RESNEXT | {"model__name": "vgg16", "batch_size": 8}),
        )
        assert [each.quantity for each in (forward, backward, total)] == ["forward", "backward", "total"]
        assert len(backward.published) == 4
        assert rounded(backward.published[TITAN]) == (0.0606, 2.47)
        assert rounded(backward.measured) == (0.2, 2.0)

    def test_a_rate_counts_the_items_of_a_call(self, timed: Timed) -> None:
        (record,) = timed([0.5], **RESNEXT | {"batch_size": 2})
        tokens = replace(record, outcome=replace(record.outcome, item="tokens", items=32))
        assert published.value(only([record]), "inference images/s") == 4
        assert published.value(only([tokens]), "inference images/s") == 64


class TestRatios:
    def test_ratios_of_variants_say_how_many_times_faster(self, timed: Timed) -> None:
        made = [
            timed([0.310], 0, **RESNEXT),
            timed([0.620], 1, **RESNEXT, **UNCACHED),
            timed([0.100], 2, **RESNEXT, **MKLDNN),
        ]
        found = rows("convnet_benchmark_pytorch", *made)
        assert [(row.quantity, rounded(row.measured), rounded(row.published[XEON])) for row in found] == [
            ("inference", (0.31, 1), (0.0925, 1)),
            ("inference images/s", (3.23, 1), (10.8, 1)),
            ("inference", (0.62, 0.5), (0.0433, 2.14)),
            ("inference images/s", (1.61, 0.5), (23.1, 2.14)),
            ("inference", (0.1, 3.1), (0.0324, 2.86)),
            ("inference images/s", (10, 3.1), (30.9, 2.86)),
        ]

    def test_ratios_are_over_the_same_work_on_the_same_machine(self, timed: Timed) -> None:
        made = [
            timed([0.4], 0, **RESNEXT, threads=1),
            timed([0.1], 1, **RESNEXT, **MKLDNN, threads=2),
            timed([0.1], 2, **RESNEXT, **MKLDNN, threads=1, env={"host_id": "another"}),
            timed([0.1], 3, **RESNEXT, **MKLDNN, threads=1),
        ]
        times = [row for row in rows("convnet_benchmark_pytorch", *made) if row.quantity == "inference"]
        assert [row.measured.ratio if row.measured else 0 for row in times] == [1, None, None, 4]

    def test_published_ratios_stay_without_a_measured_baseline(self, timed: Timed) -> None:
        (row, _) = rows("convnet_benchmark_pytorch", timed([0.1], **RESNEXT, **MKLDNN))
        assert (rounded(row.measured), rounded(row.published[XEON])) == ((0.1, None), (0.0324, 2.86))

    def test_ratios_of_phases_are_over_a_phase_of_another_case(self, timed: Timed) -> None:
        vgg = RESNEXT | {"model__name": "vgg16", "batch_size": 8}
        phases = {"forward": [0.1], "backward": [0.2], "total": [0.3]}
        made = [timed(phases, 0, mode="train", **vgg), timed([0.05], 1, **vgg)]
        *_, inference = rows("deep_learning_benchmarks", *made)
        assert (inference.quantity, rounded(inference.measured)) == ("inference", (0.05, 0.5))
        assert rounded(inference.published[TITAN]) == (0.0234, 0.955)

    def test_ratios_of_models_are_over_another_model(self, timed: Timed) -> None:
        made = [timed([0.2], 0, **RESNET), timed([0.1], 1, **RESNET | {"model__name": "resnet18"})]
        found = rows("rasp_torchvision_cpu", *made)
        assert [rounded(row.measured) for row in found] == [(0.2, 2), (0.1, 1)]
        assert [cell.ratio for row in found for cell in row.published.values()][1] == 1


class TestRows:
    def test_a_case_that_failed_has_a_row_with_its_published_figure(self, timed: Timed) -> None:
        made = timed([None], **RESNEXT, **MKLDNN, error=(Status.OOM, "no memory"))
        (row,) = rows("convnet_benchmark_pytorch", made)
        assert (row.case.status, row.measured) == ("oom", None)
        assert rounded(row.published[XEON]) == (0.0324, 2.86)

    def test_a_case_that_failed_to_train_has_the_row_of_its_whole_step(self, timed: Timed) -> None:
        vgg = RESNEXT | {"model__name": "vgg16", "batch_size": 8}
        (row,) = rows("deep_learning_benchmarks", timed([None], mode="train", **vgg))
        assert (row.quantity, row.case.status) == ("total", "error")

    def test_rows_of_a_model_and_batch_are_adjacent(self, timed: Timed) -> None:
        other = RESNET | {"batch_size": 2}
        made = [
            timed([1.0], 0, **RESNET),
            timed([1.0], 1, **other),
            timed([1.0], 2, **RESNET, engine="openvino"),
            timed([1.0], 3, **other, engine="openvino"),
        ]
        found = [(row.case.config.batch_size, row.variant) for row in rows("poros", *made)]
        assert found == [(1, "eager"), (1, "poros"), (2, "eager"), (2, "poros")]

    def test_a_quantity_that_was_not_measured_has_no_row(self, timed: Timed) -> None:
        found = rows("torchvision_pretrained_timing", timed([1.0], **RESNET))  # not on a GPU
        assert [row.quantity for row in found] == ["inference"]

    @pytest.mark.parametrize("grad", [True, False])
    def test_memory_is_compared_only_where_it_was_taken_in_the_same_way(
        self, grad: bool, timed: Timed
    ) -> None:
        gpu = GpuReadings(process=300, context=100, memory_source=MemorySource.DEVICE)
        made = told(timed([1.0], **RESNET, mode__grad=grad), gpu=gpu, peak_memory=7)
        row = rows("torchvision_pretrained_timing", made)[1]
        assert (row.quantity, row.measured) == ("inference GPU memory", Cell(200, 1.0))
        assert [each.value for each in row.published.values()] == ([243712 * 1024.0] if grad else [])


class TestFrame:
    def test_a_result_has_the_figures_as_a_frame(self, timed: Timed, tmp_path: Path) -> None:
        made = [*timed([0.3], 0, **RESNEXT), *timed([None], 1, **RESNEXT, **MKLDNN)]
        frame = Result(made, tmp_path).published("convnet_benchmark_pytorch")
        assert frame["quantity"].tolist() == ["inference", "inference images/s", "inference"]
        assert frame["status"].tolist() == ["ok", "ok", "error"]
        assert frame["measured"].isna().tolist() == [False, False, True]
        assert frame["published"].tolist() == pytest.approx([0.09252, 10.81, 0.03235])
        assert set(frame["device"]) == {XEON[0]}

    def test_unpublished_figures_are_missing_in_the_frame(self, timed: Timed, tmp_path: Path) -> None:
        frame = Result(timed([0.3], **RESNET), tmp_path).published("convnet_benchmark_pytorch")
        assert frame["published"].isna().all()
        assert frame["measured_ratio"].tolist() == [1, 1]
