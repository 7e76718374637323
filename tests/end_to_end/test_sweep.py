"""Many cases in one run: the table, the records, and cases that cannot be measured."""

from __future__ import annotations

import re
import shlex
import statistics
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from .support import Finished, by_case, cell, measure, microbench

TIME = re.compile(r"[\d.]+ (s|ms|µs|ns)\b")


LAYERS = ["batchnorm", "conv3x3_1", "dense", "embedding", "gru", "relu"]
"""Layers of each kind: tests of workloads infer and train them all."""


@pytest.fixture(scope="module")
def some_layers(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Layers in both modes; one sample tells nothing, and takes no time."""
    return measure(
        "-m",
        f"model={','.join(LAYERS)}",
        "mode=train,infer",
        "batch_size=2",
        "device=cpu",
        "measure.max_samples=1",
        cwd=tmp_path_factory.mktemp("layers"),
    )


def test_every_case_of_a_sweep_is_measured_in_order(some_layers: Finished) -> None:
    assert some_layers.code == 0, some_layers.out
    measured = [(case[0]["cfg_model"], case[0]["cfg_mode"]) for case in by_case(some_layers.records)]
    assert measured == [(name, mode) for name in LAYERS for mode in ("train", "infer")]
    assert {record["status"] for record in some_layers.records} == {"ok"}


def test_each_layer_has_one_row_with_both_modes(some_layers: Finished) -> None:
    first_words = [line.split()[0] for line in some_layers.out.splitlines()]
    assert [word for word in first_words if word in LAYERS] == LAYERS
    for name in LAYERS:
        assert TIME.match(cell(some_layers.out, name, "total")), name
        assert TIME.match(cell(some_layers.out, name, "inference")), name
        assert cell(some_layers.out, name, "total items/s"), name


def test_layers_without_parameters_have_no_update(some_layers: Finished) -> None:
    updated = {record["cfg_model"]: record["params"] for record in some_layers.records}
    with_update = {record["cfg_model"] for record in some_layers.records if record["phase"] == "update"}
    assert with_update == {name for name, params in updated.items() if params > 0}
    assert cell(some_layers.out, "relu", "update") == ""
    assert TIME.match(cell(some_layers.out, "dense", "update"))


def test_the_table_has_no_status_where_all_is_well(some_layers: Finished) -> None:
    assert "status" not in some_layers.out


def test_the_log_counts_the_cases(some_layers: Finished) -> None:
    total = 2 * len(LAYERS)
    begun = [line for line in some_layers.err.splitlines() if line.endswith(": measuring")]
    assert [line.split()[0] for line in begun] == [f"[{place}/{total}]" for place in range(1, total + 1)]
    assert len(some_layers.err.splitlines()) == 3 * total  # also for each case's first number


def test_no_two_cases_share_an_identity(some_layers: Finished) -> None:
    assert len({record["case_id"] for record in some_layers.records}) == 2 * len(LAYERS)
    assert len({record["run_id"] for record in some_layers.records}) == 1


@pytest.fixture(scope="module")
def misfits(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Of four cases only the second can be measured."""
    return measure(
        "-m",
        "model=dense,relu",
        "model.input_grad=false",
        "model.input_shape=[7],[1024]",
        "mode=train",
        cwd=tmp_path_factory.mktemp("misfits"),
    )


def test_a_case_that_fails_leaves_the_others_alone(misfits: Finished) -> None:
    cases = by_case(misfits.records)
    assert [case[0]["status"] for case in cases] == ["error", "ok", "error", "error"]
    assert [record["phase"] for record in cases[1]][-3:] == ["total", "prepare", "first_call"]


def test_a_failed_case_makes_the_exit_code_1(misfits: Finished) -> None:
    assert misfits.code == 1


def test_the_table_says_how_each_case_ended(misfits: Finished) -> None:
    assert cell(misfits.out, "dense [7]", "status") == "error"
    assert cell(misfits.out, "dense [1024]", "status") == "ok"
    assert cell(misfits.out, "relu [7]", "status") == "error"
    assert TIME.match(cell(misfits.out, "dense [1024]", "total"))


def test_a_wrong_input_shape_is_reported_with_the_shape(misfits: Finished) -> None:
    record = by_case(misfits.records)[0][0]
    assert record["error"].startswith("The first call of dense failed: RuntimeError: ")
    assert "8x7" in record["error"]
    assert "check model.input_shape" in record["error"]
    assert f"error: dense train, model.input_shape=[7]: {record['error']}" in misfits.out.splitlines()


def test_a_layer_with_nothing_to_differentiate_says_what_to_set(misfits: Finished) -> None:
    error = by_case(misfits.records)[2][0]["error"]
    assert error.startswith("relu has no parameters, so there is nothing to differentiate")
    assert "leave out model.input_grad=false" in error


def test_a_failure_s_traceback_is_in_its_record_and_not_on_the_terminal(misfits: Finished) -> None:
    assert "Traceback" not in misfits.out + misfits.err
    for record in misfits.records:
        if record["status"] == "ok":
            assert record["traceback"] is None
        else:
            assert record["traceback"].startswith("Traceback (most recent call last)")
            assert "\n" not in record["error"]


def test_each_error_names_its_case(misfits: Finished) -> None:
    errors = [line for line in misfits.out.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
    assert len(set(errors)) == 3, "the two relu cases cannot be told apart"


def test_what_a_case_did_before_it_failed_is_kept(misfits: Finished) -> None:
    (failed,) = by_case(misfits.records)[0]
    assert (failed["status"], failed["phase"], failed["n"]) == ("error", "prepare", 1)
    assert failed["samples"][0] > 0


def test_a_record_without_samples_is_still_a_whole_record(misfits: Finished) -> None:
    measured, failed = (case[0] for case in by_case(misfits.records)[1:3])
    assert (failed["phase"], failed["samples"], failed["median"], failed["n"]) == (None, [], None, 0)
    assert set(failed) == set(measured)


def test_batch_norm_on_one_value_per_channel_says_which_batch_would_do(tmp_path: Path) -> None:
    one = measure("model=resnet18", "mode=train", "batch_size=1", "model.input_shape=[3,32,32]", cwd=tmp_path)
    assert one.code == 1
    assert "Traceback" not in one.out + one.err
    assert [record["status"] for record in one.records] == ["error"]
    assert one.records[0]["error"].startswith("resnet18 cannot train at batch_size=1: batch normalization")
    assert "use batch_size=2 or more" in one.records[0]["error"]
    assert f"error: {one.records[0]['error']}" in one.out.splitlines()
    assert "more than 1 value per channel" in one.records[0]["traceback"]


@pytest.fixture(scope="module")
def isolations(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A model of a folder of the user's own, in each isolation."""
    folder = tmp_path_factory.mktemp("isolations")
    (folder / "mine" / "model").mkdir(parents=True)
    yaml = "source: layer\nname: narrow\ncls: torch.nn.Linear\nargs: [64, 32]\ninput_shape: [64]\n"
    (folder / "mine" / "model" / "narrow.yaml").write_text(yaml)
    return measure(
        "--config-dir=mine", "-m", "model=narrow", "isolation=fork,spawn,inline", "mode=infer", cwd=folder
    )


def test_every_isolation_measures(isolations: Finished) -> None:
    assert isolations.code == 0, isolations
    cases = by_case(isolations.records)
    assert [case[0]["cfg_isolation"] for case in cases] == ["fork", "spawn", "inline"]
    assert all(record["n"] >= 6 for record in isolations.records if record["phase"] == "inference")


def test_the_isolations_measure_the_same_work_apart(isolations: Finished) -> None:
    assert len({record["case_id"] for record in isolations.records}) == 1
    assert len({(record["order"], record["cfg_isolation"]) for record in isolations.records}) == 3


def test_the_table_tells_the_isolations_apart(isolations: Finished) -> None:
    for isolation in ("fork", "spawn", "inline"):
        assert cell(isolations.out, f"narrow {isolation}", "isolation") == isolation
        assert TIME.match(cell(isolations.out, f"narrow {isolation}", "inference"))


def test_a_command_with_a_folder_of_configurations_can_be_given_again(isolations: Finished) -> None:
    """It is composed only: that a command measures the same case again is shown in test_run."""
    for case in by_case(isolations.records):
        command = shlex.split(case[0]["command"])
        assert f"isolation={case[0]['cfg_isolation']}" in command
        again = microbench(*command[3:], "--cfg=job", cwd=isolations.folder)
        assert again.code == 0, again
        assert "name: narrow" in again.out


def test_a_glob_expands_to_the_names_that_match(tmp_path: Path) -> None:
    """No layer fits this input, so no time is spent on measuring."""
    both = measure("-m", "model=glob(conv3x3*)", "model.input_shape=[1]", cwd=tmp_path)
    assert both.code == 1
    assert [case[0]["cfg_model"] for case in by_case(both.records)] == ["conv3x3_1", "conv3x3_2"]


def timer_s_median(module: nn.Module, x: Tensor) -> float:
    """Return the seconds that torch's own timer has for a call on one thread."""
    with torch.inference_mode():
        timer = Timer("module(x)", globals={"module": module.eval(), "x": x}, num_threads=1)
        return float(timer.blocked_autorange(min_run_time=0.1).median)


@pytest.mark.alone  # another test's load during one of the two measurements is no disagreement
def test_medians_agree_with_those_of_torch_s_own_timer(tmp_path: Path) -> None:
    """Loose on purpose: the machine may be busy. A wrong unit or a wrong divisor is off by far more."""
    ours = measure("-m", "model=dense,conv3x3_1", "batch_size=1,8", "mode=infer", "device=cpu", cwd=tmp_path)
    made: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
        "dense": (nn.Linear(1024, 512), (1024,)),
        "conv3x3_1": (nn.Conv2d(3, 64, 3, padding=1), (3, 224, 224)),
    }
    expected = {
        f"{name} {batch}": timer_s_median(module, torch.randn(batch, *shape))
        for name, (module, shape) in made.items()
        for batch in (1, 8)
    }
    medians = {
        f"{record['cfg_model']} {record['cfg_batch_size']}": record["median"]
        for record in ours.records
        if record["phase"] == "inference"
    }
    assert medians.keys() == expected.keys()
    ratios = {name: medians[name] / expected[name] for name in medians}
    assert all(1 / 3 < ratio < 3 for ratio in ratios.values()), ratios
    assert 1 / 2 < statistics.median(ratios.values()) < 2, ratios
