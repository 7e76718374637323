"""`mode=profile` from outside: what it prints, what it records, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import microbench
from microbench.analysis import published_tables
from microbench.analysis.profile import Profile

from .support import QUICK, Finished, by_case, complete, kill_left, measure, start
from .support import microbench as run

pytestmark = pytest.mark.long

SMALL = ("model=squeezenet1_1", "batch_size=1", "model.input_shape=[3,32,32]", "mode=profile")
PAPER = (*SMALL, "timing=false")
PUBLISHED = ["name", "type", "in_shape", "out_shape", "params", "flops", "mem_r", "mem_w", "mem_rw", "macc"]


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module", autouse=True)
def peaks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Peaks that are no machine's, kept where those of this one would be: none is measured here."""
    made_up = {
        "fp32": 1e15,
        "bf16": 2e15,
        "fp32_by": "imagination",
        "bf16_by": "imagination",
        "emulated": [],
        "bandwidths": [[1024, 1e6]],
        "call_seconds": 1e-9,
        "disturbed": False,
    }
    script = """
import json, msgspec, sys, torch
from microbench.devices import open_device
from microbench.profile import peaks
from microbench.profile import peaks_cache
from microbench.records.peaks import Peaks
torch.set_num_threads(1)
device = open_device("cpu")
peaks_cache.write(peaks.identity_of(device), msgspec.convert(json.loads(sys.argv[1]), Peaks))
"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        subprocess.run([sys.executable, "-c", script, json.dumps(made_up)], check=True)
        yield made_up


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A profile over two rounds, with a trace."""
    folder = tmp_path_factory.mktemp("timed")
    return measure(*SMALL, "measure.rounds=2", "trace=true", "view=types", cwd=folder)


def test_it_can_be_shown_again(timed: Finished) -> None:
    assert run("show", "run", cwd=timed.folder).out == timed.out


def dry_run_result(folder: Path, **options: Any) -> microbench.Result:
    """Return the result of a dry run by `microbench.run` in this process."""
    small = {"model": "squeezenet1_1", "batch_size": 1, "model.input_shape": [3, 32, 32]}
    given = {**small, "mode": "profile", "timing": False, "isolation": "inline", "measure.rounds": 1}
    return microbench.run(folder=folder, **(given | options))


def dry_run(folder: Path, **options: Any) -> Profile:
    """Return the profile of the dry run."""
    result = dry_run_result(folder, **options)
    assert result.ok, result.records[0].outcome.error
    return result.profile()


def layers_of(done: Finished) -> list[dict[str, Any]]:
    return [record for record in done.records if record["layer_order"] is not None]


class TestOnPaper:
    def test_the_published_layers_of_mobilenet_v2_are_reproduced_as_csv(self, tmp_path: Path) -> None:
        done = run(
            *("model=mobilenet_v2", "mode=profile", "batch_size=1", "timing=false", "functions=false"),
            *(f"columns=[{','.join(PUBLISHED)}]", "--csv", "hydra.run.dir=run"),
            cwd=tmp_path,
        )
        assert done.code == 0, done.err
        with (published_tables.FOLDER / "rasp_mobilenet_v2_layers.csv").open() as file:
            expected = [{name: row[name] for name in PUBLISHED} for row in csv.DictReader(file)]
        assert [{**row, "name": f".{row['name']}"} for row in table(done.out)] == expected
        assert len(expected) == 141

    def test_a_model_of_gigabytes_is_no_trouble(self, tmp_path: Path) -> None:
        large = dry_run(tmp_path, model="regnet_y_128gf", **{"model.input_shape": [3, 224, 224]}).total
        assert large.params == 644_812_894
        assert large.macc == pytest.approx(127.5e9, rel=0.01)  # what torchvision's page says

    def test_a_sweep_prints_each_once_and_keeps_them_apart(self, tmp_path: Path) -> None:
        """One round is enough, whatever `measure.rounds` is."""
        done = measure(
            *("-m", *PAPER, "model=squeezenet1_1,alexnet", "model.input_shape=[3,64,64]", "view=root"),
            "measure.rounds=5",
            cwd=tmp_path,
        )
        assert done.out.count("dry run") == 2
        assert [case[0]["cfg_model"] for case in by_case(done.records)] == ["squeezenet1_1", "alexnet"]
        assert {record["round"] for record in done.records} == {0}

    def test_training_counts_the_backward_pass(self, tmp_path: Path) -> None:
        total = dry_run(tmp_path, **{"mode.training": True}).total
        assert total.flops is not None
        assert total.backward is not None
        assert 1.5 < total.backward / total.flops < 2.1


class TestInFact:
    def test_every_call_has_its_records(self, timed: Finished) -> None:
        assert timed.code == 0, timed.err
        calls = {
            (record["layer"], record["layer_index"])
            for record in layers_of(timed)
            if record["layer_kind"] == "module"
        }
        (first,) = [
            record for record in layers_of(timed) if (record["layer_order"], record["metric"]) == (2, "flops")
        ]
        assert len(calls) == 66 - 9
        assert (first["layer"], first["layer_type"], first["layer_in_shape"], first["layer_out_shape"]) == (
            "features.0",
            "Conv2d",
            "(1, 3, 32, 32)",
            "(1, 64, 15, 15)",
        )
        assert (first["median"], first["unit"]) == (64 * 15 * 15 * (2 * 27 - 1 + 1), "FLOP")

    def test_what_is_counted_is_recorded_once_and_not_in_every_round(self, timed: Finished) -> None:
        counted = {
            record["round"] for record in layers_of(timed) if record["metric"] not in ("lat", "net_lat")
        }
        assert counted == {0}

    def test_times_have_samples_in_each_round_as_many_as_the_model(self, timed: Finished) -> None:
        for number in (0, 1):
            of_round = [record for record in timed.records if record["round"] == number]
            (whole,) = [each for each in of_round if (each["phase"], each["metric"]) == ("inference", "time")]
            counts = {each["n"] for each in of_round if each["metric"] in ("lat", "net_lat")}
            assert counts == {whole["n"]}
            assert whole["layer"] is None

    def test_calls_and_the_rest_are_the_untouched_models_time(self, timed: Finished) -> None:
        found = microbench.load(timed.folder / "run").profile()
        rest = found.view("calls").overhead
        assert rest is not None
        assert found.seconds is not None
        own = sum(row.net_lat or 0 for row in found.calls)
        assert own + rest.values["lat"] == pytest.approx(found.seconds)

    def test_memory_is_tracked(self, timed: Finished) -> None:
        frame = microbench.load(timed.folder / "run").profile().to_frame("calls", ["all"])
        first = frame.iloc[0]
        assert first["mem_alloc"] >= 64 * 15 * 15 * 4
        assert (frame["mem_peak"] >= frame["mem_alloc"]).all()

    def test_the_machines_peaks_are_recorded_and_bound_each_call(
        self, timed: Finished, peaks: dict[str, Any]
    ) -> None:
        recorded = layers_of(timed)[0]["env_peaks"]
        assert {name: recorded[name] for name in peaks} == peaks
        assert "measured peaks: fp32 1.00 PFLOP/s (imagination)" in timed.out
        frame = microbench.load(timed.folder / "run").profile().to_frame("calls", ["all"])
        moves = frame[frame["mem_rw"] > 0]
        assert set(moves["bound"]) == {"memory"}
        assert moves["reached"].tolist() == pytest.approx((moves["mem_rw"] / 1e6 / moves["lat"]).tolist())

    def test_it_prints_the_requested_view_and_what_the_time_is_made_of(self, timed: Finished) -> None:
        assert "squeezenet1_1 profile, batch 1, inference" in timed.out
        assert "Conv2d" in timed.out
        assert "uninstrumented run" in timed.out
        assert "features.0" not in timed.out

    def test_a_trace_names_the_layers(self, timed: Finished) -> None:
        (path,) = (timed.folder / "run").glob("trace-*.json")
        assert f"trace: run/{path.name}" in timed.out
        names = {event.get("name") for event in json.loads(path.read_text())["traceEvents"]}
        assert {"features.0 (Conv2d)", "aten::conv2d"} <= names

    def test_summaries_and_other_reports_see_the_phase_alone(self, timed: Finished) -> None:
        summary = microbench.load(timed.folder / "run").summary()
        assert summary["phase"].tolist() == ["inference", "prepare", "first_call"]

    def test_records_are_a_frame_like_any_other(self, timed: Finished) -> None:
        frame = microbench.load(timed.folder / "run").to_frame()
        assert isinstance(frame, pd.DataFrame)
        assert {"lat", "flops", "mem_peak", "time"} <= set(frame["metric"])


def test_csv_of_a_timed_profile_has_every_column(tmp_path: Path) -> None:
    done = measure(*SMALL, "memory=false", "--csv", cwd=tmp_path)
    first = table(done.out)[0]
    assert float(first["lat"]) > 0
    assert float(first["flop_rate"]) == pytest.approx(float(first["flops"]) / float(first["lat"]))
    assert "mem_peak" not in first


def test_columns_are_chosen_and_dropped(tmp_path: Path) -> None:
    done = measure("-m", *PAPER, "columns=[~mem_r,~type]", "view=calls,leaves", cwd=tmp_path)
    calls, leaves = [line.split() for line in done.out.splitlines() if line.startswith("name")]
    assert calls == ["name", "input", "output", "params", "FLOP", "MAC", "written"]
    assert leaves == ["name", "calls", "output", "params", "FLOP", "MAC", "written"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("view=leafs",), "Unknown view 'leafs'. Did you mean leaves?"),
        (("columns=[flop]",), "Unknown column 'flop'. Did you mean flops"),
        (("columns=[~flop]",), "Unknown column 'flop'. Did you mean flops"),
        (("depth=2",), "depth=2 is an option of view=tree; view=calls does not have it."),
        (
            ("timing=false", "trace=true"),
            "trace=true needs timing=true: a dry run executes nothing that could be traced.",
        ),
        (
            ("mode=infer", "view=types"),
            "view=types is an option of mode=profile; mode=infer does not have it",
        ),
        (
            ("mode=train", "timing=false"),
            "timing=false is an option of mode=profile; mode=train does not have it",
        ),
        (
            ("energy.hit_rate=2",),
            "energy.hit_rate=2.0 is not possible: give a share from 0 to 1 (0.01 is 1 %).",
        ),
        (("energy.dran=2",), "Unknown option 'energy.dran'. Did you mean energy.dram"),
        (("--csv", "--json"), "Give one of --csv and --json."),
    ],
)
def test_what_no_profile_can_do_is_refused_before_anything_is_measured(
    options: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    assert told in run(*SMALL, *options, cwd=tmp_path).complaint
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (
            {"engine": "torchscript"},
            "skipped",
            "engine=torchscript does not run layers one by one: use engine=eager, or",
        ),
        ({"model.input_shape": [3, 4, 4]}, "error", "squeezenet1_1 failed in features.2 (MaxPool2d) on"),
    ],
)
def test_what_cannot_be_profiled_is_reported_in_one_line(
    options: dict[str, Any], status: str, told: str, tmp_path: Path
) -> None:
    (record,) = dry_run_result(tmp_path, **options).records
    assert record.outcome.status == status
    assert record.outcome.error is not None
    assert record.outcome.error.startswith(told)
    assert "\n" not in record.outcome.error


def test_a_profile_that_was_killed_is_completed_with_nothing_lost_or_measured_twice(tmp_path: Path) -> None:
    begun = start(*SMALL, *QUICK, "measure.rounds=2", "memory=false", cwd=tmp_path)
    begun.recorded(rounds=1)
    begun.process.kill()
    begun.process.wait()
    kill_left(begun.mark)
    done = run("resume=run", "view=root", cwd=tmp_path)
    assert done.code == 0, done.err
    assert complete(done.records) == [(0, 0), (0, 1)]
    assert "SqueezeNet" in done.out  # the view is that of the command that completes it
    assert "Conv2d" not in done.out


def test_another_number_format_and_layout_are_profiled_too(tmp_path: Path) -> None:
    frame = dry_run(tmp_path, precision="bf16", layout="channels_last").to_frame()
    assert set(frame["dtype"]) == {"bfloat16"}
    assert frame["mem_w"][0] == 64 * 15 * 15 * 2


def test_names_are_those_of_the_model_under_autocast_too(tmp_path: Path) -> None:
    assert dry_run(tmp_path, precision="amp_bf16").to_frame()["name"][0] == "features.0"


def test_an_estimate_of_energy_takes_the_constants_it_is_given(tmp_path: Path) -> None:
    given = {"energy.multiply": 1.0, "energy.dram": 0.0, "energy.on_chip": 0.0}
    root = dry_run(tmp_path, **given).to_frame("root")
    assert root["energy"][0] == root["macc"][0]
