"""One case, measured: what is printed, and what is on the disk."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from .support import Finished, Record, measure, microbench

PHASES = ("forward", "backward", "update", "total")
TIME = r"[\d.]+ (?:s|ms|µs|ns)"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    # Long enough for an interval on a busy machine, too, where samples depend on each other.
    enough = ("measure.rel_ci=0.3", "measure.max_time=5")
    where = tmp_path_factory.mktemp("dense")
    finished = measure("model=dense", "mode=train", "device=cpu", *enough, cwd=where)
    assert finished.code == 0, finished
    return finished


@pytest.fixture(scope="module")
def records(run: Finished) -> list[Record]:
    return run.records


@pytest.fixture(scope="module")
def series(records: list[Record]) -> dict[str, Record]:
    return {record["phase"]: record for record in records}


def row(out: str, phase: str) -> str:
    return next(line for line in out.splitlines() if line.startswith(f"{phase} "))


@pytest.mark.parametrize("phase", PHASES)
def test_each_phase_has_a_row_with_its_median_and_interval_in_a_unit(run: Finished, phase: str) -> None:
    assert re.match(rf"{phase} +{TIME}  +[\d.]+ – {TIME}  +[\d.]+ %  ", row(run.out, phase))


def test_the_interval_column_says_that_it_is_one_process_s(run: Finished) -> None:
    assert re.split(" {2,}", row(run.out, "phase")) == [
        "phase",
        "median",
        "95 % CI (one process)",
        "±",
        "items/s",
        "samples",
    ]


def test_the_whole_step_alone_has_a_throughput(run: Finished, series: dict[str, Record]) -> None:
    printed = re.split(" {2,}", row(run.out, "total"))[-2]
    assert float(printed.replace(",", "")) == pytest.approx(8 / series["total"]["median"], rel=0.05)
    assert (
        len(re.split(" {2,}", row(run.out, "forward"))) == len(re.split(" {2,}", row(run.out, "total"))) - 1
    )


def test_a_layer_has_no_loss(run: Finished, series: dict[str, Record]) -> None:
    assert "loss" not in series
    assert "loss" not in run.out


def test_the_peak_memory_and_why_it_stopped_are_printed(run: Finished) -> None:
    assert re.search(r"peak memory [\d.]+ [KMG]iB", run.out)
    assert re.search(
        r"stopped: (time limit reached|interval narrow enough|sample limit reached) \(measure\.", run.out
    )


def test_the_first_line_names_the_machine_and_the_software(run: Finished, records: list[Record]) -> None:
    machine = run.out.splitlines()[0]
    assert records[0]["env_cpu"] in machine
    assert f"torch {records[0]['env_torch']}" in machine
    assert f"Python {records[0]['env_python']}" in machine


def test_the_last_line_names_the_file_of_the_records(run: Finished, records: list[Record]) -> None:
    found = re.fullmatch(r"records: (\S+) \((\d+) rounds?\)", run.out.splitlines()[-1])
    assert found is not None
    assert (run.folder / found[1]).is_file()
    assert int(found[2]) == len({record["round"] for record in records})


def test_a_pipe_gets_no_escape_codes(run: Finished) -> None:
    assert "\x1b" not in run.out + run.err


def test_the_log_has_a_line_when_the_case_begins_for_its_first_number_and_when_it_ends(
    run: Finished,
) -> None:
    begin, first, end = run.err.splitlines()
    assert begin == "[1/1] dense train, batch 8, eager, cpu: measuring"
    assert re.fullmatch(
        rf"\[1/1\] dense train, batch 8, eager, cpu: forward {TIME}, backward {TIME}, update {TIME}, "
        rf"total {TIME} · 1 sample, no interval yet",
        first,
    )
    assert re.fullmatch(
        rf"\[1/1\] dense train, batch 8, eager, cpu: total {TIME} ±[\d.]+ %, \d+ samples", end
    )


def test_nothing_is_written_outside_the_run_s_folder(run: Finished) -> None:
    assert [path.name for path in run.folder.iterdir()] == ["run"]
    assert [path.name for path in (run.folder / "run").iterdir()] == ["records.jsonl"]


def test_every_line_of_the_file_is_one_json_object_without_nan(run: Finished) -> None:
    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    for line in (run.folder / "run" / "records.jsonl").read_text().splitlines():
        assert isinstance(json.loads(line, parse_constant=refuse), dict)


def test_there_is_a_record_for_each_phase_and_each_one_off(records: list[Record]) -> None:
    assert [record["phase"] for record in records] == [*PHASES, "prepare", "first_call"]
    assert {(record["metric"], record["unit"]) for record in records} == {("time", "s")}
    assert all(record["clock"] for record in records)


def test_the_records_share_their_identity(records: list[Record]) -> None:
    for key in ("schema_version", "run_id", "case_id", "host_id", "started_at", "round", "order", "command"):
        assert len({record[key] for record in records}) == 1, key
    first = records[0]
    assert (first["schema_version"], first["round"], first["order"]) == (3, 0, 0)
    assert re.fullmatch(r"[0-9a-f]{12}", first["case_id"])
    assert re.fullmatch(r"[0-9a-f]{12}", first["host_id"])


def test_the_start_is_in_utc_and_after_the_run_s_own(records: list[Record]) -> None:
    started = datetime.fromisoformat(records[0]["started_at"])
    assert started.utcoffset() == timedelta(0)
    run_started = datetime.strptime(records[0]["run_id"].rpartition("-")[0], "%Y%m%d-%H%M%S")
    assert run_started.replace(tzinfo=UTC) <= started <= datetime.now(UTC)


def test_the_outcome_is_ok_with_the_rule_that_stopped_it(records: list[Record]) -> None:
    for record in records:
        assert (record["status"], record["error"], record["traceback"]) == ("ok", None, None)
        once = record["phase"] in ("prepare", "first_call")
        assert record["stop_reason"] in ((None,) if once else ("rel_ci", "max_time", "max_samples"))


def test_a_warning_has_a_code_and_is_printed(run: Finished, records: list[Record]) -> None:
    printed = [line for line in run.out.splitlines() if line.startswith("warning: ")]
    assert printed == [f"warning: {each['message']} [{each['code']}]" for each in records[0]["warnings"]]


def test_the_axes_are_flat_fields(records: list[Record]) -> None:
    axes = {key.removeprefix("cfg_"): value for key, value in records[0].items() if key.startswith("cfg_")}
    assert axes == {
        "model": "dense",
        "seq_len": None,
        "part": None,
        "mode": "train",
        "grad": False,
        "device": "cpu",
        "device_index": None,
        "cudnn_benchmark": False,
        "deterministic": False,
        "engine": "eager",
        "precision": "fp32",
        "optimizer": "sgd",
        "layout": "contiguous",
        "cache_weights": True,
        "batch_size": 8,
        "max_batch": False,
        "input_shape": "1024",
        "threads": 1,
        "interop_threads": None,
        "affinity": "none",
        "allocator": "system",
        "flush_denormal": False,
        "cold_cache": False,
        "seed": 0,
        "isolation": "fork",
        "verify": True,
    }


def test_the_whole_configuration_is_in_the_record(records: list[Record]) -> None:
    config = records[0]["config"]
    assert config["model"]["cls"] == "torch.nn.Linear"
    assert config["model"]["args"] == [1024, 512]
    assert config["optimizer"]["lr"] > 0
    assert config["measure"]["max_time"] == 5.0
    assert (config["batch_size"], config["threads"], config["timeout"]) == (8, 1, 1800)


def test_the_environment_is_in_the_record(records: list[Record]) -> None:
    first = records[0]
    for name in ("cpu", "allocator", "os", "arch", "torch", "torchvision", "numpy", "python", "microbench"):
        assert first[f"env_{name}"], name
    assert first["env_physical_cores"] >= 1
    assert first["env_memory"] > 2**28
    assert "env_omp_num_threads" in first


def test_the_summary_is_that_of_the_samples(records: list[Record]) -> None:
    for record in records:
        samples = record["samples"]
        assert record["n"] == len(samples) >= 1
        assert record["median"] == pytest.approx(np.median(samples), rel=1e-12)
        assert record["mean"] == pytest.approx(np.mean(samples), rel=1e-12)
        assert (record["min"], record["max"]) == (min(samples), max(samples))
        assert record["q25"] == pytest.approx(np.quantile(samples, 0.25), rel=1e-12)
        assert record["q75"] == pytest.approx(np.quantile(samples, 0.75), rel=1e-12)


@pytest.mark.parametrize("phase", PHASES)
def test_the_interval_encloses_the_median(series: dict[str, Record], phase: str) -> None:
    record = series[phase]
    assert record["n"] >= 6
    assert record["min"] <= record["ci_low"] <= record["median"] <= record["ci_high"] <= record["max"]
    assert record["confidence"] == 0.95


def test_one_observation_has_no_interval(series: dict[str, Record]) -> None:
    for phase in ("prepare", "first_call"):
        assert series[phase]["n"] == 1
        assert (series[phase]["ci_low"], series[phase]["ci_high"], series[phase]["std"]) == (None, None, None)


def test_the_phases_of_a_step_are_never_merged(series: dict[str, Record]) -> None:
    assert {series[phase]["calls_per_sample"] for phase in PHASES} == {1}
    assert len({series[phase]["n"] for phase in PHASES}) == 1


def test_every_total_spans_its_forward_backward_and_update(series: dict[str, Record]) -> None:
    forward, backward, update, total = (np.array(series[phase]["samples"]) for phase in PHASES)
    assert np.all(total >= forward + backward + update - 1e-9)
    assert np.all(np.minimum(np.minimum(forward, backward), update) > 0)


def test_the_warm_up_is_kept_apart_from_the_samples(series: dict[str, Record]) -> None:
    assert len(series["total"]["warmup"]) >= 1
    assert all(seconds > 0 for seconds in series["total"]["warmup"])


def test_the_parameters_are_counted(records: list[Record]) -> None:
    assert {record["params"] for record in records} == {1024 * 512 + 512}


def test_the_state_of_the_process_is_in_the_record(records: list[Record]) -> None:
    first = records[0]
    assert 1024 * 512 * 4 < first["peak_memory"] < 2**30  # more than its weights, less than what torch takes
    assert first["page_faults_per_call"] >= 0
    assert first["involuntary_switches"] >= 0
    assert 0 < first["cpu_utilization"] < 1.5  # on one thread


def test_the_recorded_command_measures_the_same_case_again(records: list[Record], tmp_path: Path) -> None:
    command = shlex.split(records[0]["command"])
    assert command[:3] == ["python", "-m", "microbench"]
    again = microbench(*command[3:], "hydra.run.dir=run", cwd=tmp_path)
    assert again.code == 0, again
    assert again.records[0]["case_id"] == records[0]["case_id"]
    assert again.records[0]["host_id"] == records[0]["host_id"]
    assert again.records[0]["run_id"] != records[0]["run_id"]
    assert again.records[0]["config"] == records[0]["config"]


def test_a_model_s_inference_is_in_images_per_second(tmp_path: Path) -> None:
    finished = measure("model=resnet18", "mode=infer", "batch_size=1", cwd=tmp_path)
    assert finished.code == 0, finished
    assert re.match(rf"inference +{TIME}  ", row(finished.out, "inference"))
    assert "images/s" in row(finished.out, "phase")
    assert "resnet18 infer, batch 1, fp32, eager, cpu, input 1x3x224x224" in finished.out
    series = {record["phase"]: record for record in finished.records}
    assert set(series) == {"inference", "prepare", "first_call"}
    assert series["inference"]["params"] == 11_689_512  # torchvision's own count for resnet18
    assert series["inference"]["samples"][0] > 1e-4
