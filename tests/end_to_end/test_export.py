"""`microbench export`, on files that the test writes, read back by the tools that the formats are of."""

from __future__ import annotations

import csv
import io
import json
import statistics
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from factory import IMPLAUSIBLE, QUIET, WRONG, record_of, series_of, told
from msgspec.structs import replace

from microbench.cli import export
from microbench.errors import UserError
from microbench.records.record import Machine, RoundRecord
from microbench.records.result import load
from microbench.records.summary import summarize

from .support import write

ROUNDS = (
    [1.0, 1.2, 1.1, 1.4, 1.3],
    [0.9, 1.1, 1.0, 1.3, 1.2],
    [1.1, 1.3, 1.2, 1.5, 9.0],
)
"""The samples of each round of the case `dense infer`, in seconds."""

SAMPLES = [sample for each in ROUNDS for sample in each]
INFER, TRAIN = "dense infer, batch 8, fp32, eager, cpu", "dense train, batch 8, fp32, eager, cpu"
TUNED = f"{INFER}, allocator=tuned"
MACHINE = Machine(
    host_id="h", cpu="Some CPU", usable_cpus=8, torch="2.11", python="3.12", os="Linux 6", microbench="1.0"
)


def sampled() -> list[RoundRecord]:
    """A case whose process used two CPUs, a tenth of that in the kernel."""
    readings = replace(QUIET, cpu_utilization=2.0, system_utilization=0.2)
    return [
        record_of(
            {"inference": series_of("inference", samples, calls_per_sample=3, warmup=[2.0, 1.0])},
            round=number,
            machine=MACHINE,
            readings=readings,
            peak_memory=1000 + number,
        )
        for number, samples in enumerate(ROUNDS)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, timed: Any) -> Path:
    """Where a run of one case, a sweep, what has no times, and no records are."""
    found = tmp_path_factory.mktemp("export")
    train = {"forward": [1.0, 1.1], "total": [3.0, 3.2]}
    tuned = timed([2.0, 2.1], 2, allocator="tuned")
    write(found / "one", sampled())
    write(found / "sweep", sampled(), timed(train, 1, mode="train"), tuned)
    slow = [timed([seconds * 2 for seconds in SAMPLES[:6]], run_id="t")]
    write(found / "slow", *slow)
    wrong, odd = timed([1.0], 1, check=WRONG), told(timed([1.0], 2, batch_size=2), warnings=(IMPLAUSIBLE,))
    coarse = timed([0.0], 3, batch_size=4)
    write(found / "bad", timed([None]), wrong, odd, coarse)
    write(found / "some", timed([1.0, 1.1], 4, batch_size=1), timed([None]), wrong)
    write(found / "empty")
    (found / "noise").write_bytes(bytes(range(256)))
    (found / "newer").write_text('{"schema_version":99,"run":{}}\n')
    return found


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def exported(capsysbinary: pytest.CaptureFixture[bytes], *arguments: str) -> Any:
    assert export.main(arguments) == 0
    out, err = capsysbinary.readouterr()
    assert err == b""
    return json.loads(out)


def test_hyperfine_has_every_sample_as_a_time(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    (result,) = exported(capsysbinary, "hyperfine", "one")["results"]
    assert result["times"] == SAMPLES
    assert result["mean"] == pytest.approx(statistics.mean(SAMPLES))
    assert result["stddev"] == pytest.approx(statistics.stdev(SAMPLES))
    assert [result[name] for name in ("median", "min", "max")] == [statistics.median(SAMPLES), 0.9, 9.0]
    of_rounds = statistics.mean(map(statistics.median, ROUNDS))
    assert result["user"] == pytest.approx(1.8 * of_rounds)
    assert result["system"] == pytest.approx(0.2 * of_rounds)
    assert (len(result["exit_codes"]), {*result["exit_codes"]}) == (15, {None})
    assert (result["parameters"]["batch_size"], result["parameters"]["phase"]) == ("8", "inference")
    assert result["command"].endswith(" # inference")


def test_hyperfine_leaves_unknown_cpu_times_null(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    results = exported(capsysbinary, "hyperfine", "sweep", "--phase", "forward,inference")["results"]
    assert [each["user"] is None for each in results] == [False, True, True]
    assert [each["parameters"]["phase"] for each in results] == ["inference", "forward", "inference"]


def test_pyperf_reads_the_rounds_as_runs(folder: Path) -> None:
    import pyperf

    assert export.main(["pyperf", "sweep", "-o", "pyperf.json"]) == 0
    suite = pyperf.BenchmarkSuite.load("pyperf.json")
    assert suite.get_benchmark_names() == [f"{INFER}: inference", f"{TRAIN}: total", f"{TUNED}: inference"]
    benchmark = suite.get_benchmarks()[0]
    runs = benchmark.get_runs()
    assert [each.values for each in runs] == [tuple(each) for each in ROUNDS]
    assert {each.warmups for each in runs} == {((1, 2.0), (1, 1.0))}
    assert (benchmark.get_loops(), benchmark.get_unit()) == (3, "second")
    assert benchmark.get_metadata()["cpu_model_name"] == "Some CPU"


def test_pyperf_compares_two_exports_by_title(folder: Path) -> None:
    for name in ("one", "slow"):
        assert export.main(["pyperf", name, "-o", f"{name}.json"]) == 0
    command = [sys.executable, "-m", "pyperf", "compare_to", "one.json", "slow.json", "--table"]
    told = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True, timeout=60).stdout
    row = next(line for line in told.splitlines() if INFER in line)
    means = statistics.mean(SAMPLES), 2 * statistics.mean(SAMPLES[:6])
    assert [f"{each:.2f} sec" in row for each in means] == [True, True], told


def test_google_benchmark_has_rounds_as_repetitions(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    found = exported(capsysbinary, "google-benchmark", "one")
    assert (found["context"]["num_cpus"], found["context"]["cpu"]) == (8, "Some CPU")
    rounds = [each for each in found["benchmarks"] if each["run_type"] == "iteration"]
    medians = [statistics.median(each) for each in ROUNDS]
    assert [each["real_time"] / 1e9 for each in rounds] == pytest.approx(medians)
    assert [each["cpu_time"] / 1e9 for each in rounds] == pytest.approx([2 * each for each in medians])
    assert [each["items_per_second"] for each in rounds] == pytest.approx([8 / each for each in medians])
    assert [(each["repetition_index"], each["iterations"]) for each in rounds] == [(0, 15), (1, 15), (2, 15)]
    assert {(each["name"], each["time_unit"], each["repetitions"]) for each in rounds} == {
        (f"{INFER}: inference", "ns", 3)
    }
    over = {each["aggregate_name"]: each for each in found["benchmarks"] if each["run_type"] == "aggregate"}
    mean, std = statistics.mean(medians), statistics.stdev(medians)
    expected = {"mean": mean, "median": statistics.median(medians), "stddev": std}
    assert {name: over[name]["real_time"] / 1e9 for name in expected} == pytest.approx(expected)
    assert over["cv"]["real_time"] == pytest.approx(std / mean)
    assert over["mean"]["name"] == f"{INFER}: inference_mean"


def test_google_benchmark_leaves_out_an_unknown_cpu_time(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    found = exported(capsysbinary, "google-benchmark", "slow")["benchmarks"]
    assert found
    assert all("cpu_time" not in each for each in found)


def test_times_of_zero_have_no_variation() -> None:
    from microbench.analysis.timings import moments

    assert [moments(each).cv for each in ([1.0, 3.0], [0.0, 0.0], [1.0])] == [
        pytest.approx(0.5**0.5),
        None,
        None,
    ]


@pytest.mark.parametrize(
    "samples", [[3.0], [1.0, 4.0], [5.0, 1.0, 2.0], *pairwise([SAMPLES[:n] for n in (4, 5)])]
)
def test_pytest_benchmark_computes_the_same_statistics(samples: Any) -> None:
    """Those of its own code, for all ways in which a number of samples can be divided by four."""
    from pytest_benchmark.stats import Stats

    from microbench.analysis.timings import spread

    for each in samples if isinstance(samples[0], list) else [samples, [*samples, 2.5], [*SAMPLES, *samples]]:
        theirs, ours = Stats(), spread(each)
        for sample in each:
            theirs.update(sample)
        assert (ours.q1, ours.q3) == pytest.approx((theirs.q1, theirs.q3))
        assert (ours.least_within, ours.most_within) == (theirs.ld15iqr, theirs.hd15iqr)
        assert (ours.far, ours.outliers) == (theirs.stddev_outliers, theirs.iqr_outliers)


def test_pytest_benchmark_compares_two_exports(folder: Path) -> None:
    from pytest_benchmark.stats import Stats

    for name in ("one", "slow"):
        assert export.main(["pytest-benchmark", name, "-o", f"{name}.json"]) == 0
    stats = json.loads((folder / "one.json").read_text())["benchmarks"][0]["stats"]
    theirs = Stats()
    for sample in SAMPLES:
        theirs.update(sample)
    assert (stats["data"], stats["iterations"]) == (SAMPLES, 3)
    assert {name: stats[name] for name in Stats.fields if name != "outliers"} == pytest.approx(
        {name: value for name, value in theirs.as_dict().items() if name != "outliers"}
    )
    assert stats["outliers"] == theirs.outliers
    files = [folder / "one.json", folder / "slow.json"]
    command = [Path(sys.executable).with_name("pytest-benchmark"), "compare", *files, "--columns=median"]
    told = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True, timeout=60).stdout
    assert told.count(f"{INFER}: inference") == 2


def test_pytorch_s_database_gets_a_record_per_metric(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    found = exported(capsysbinary, "pytorch", "one")
    medians = [statistics.median(each) for each in ROUNDS]
    assert {each["metric"]["name"]: each["metric"]["benchmark_values"] for each in found} == {
        "inference_latency(s)": pytest.approx(medians),
        "inference_throughput(items/s)": pytest.approx([8 / each for each in medians]),
        "peak_memory(bytes)": [1000, 1001, 1002],
    }
    for each in found:
        assert (each["schema_version"], each["benchmark"]["mode"]) == ("v3", "inference")
        assert each["benchmark"]["dtype"] == "float32"
        assert each["model"] == {
            "name": "dense",
            "type": "layer",
            "backend": "eager",
            "origins": ["layer"],
        }
        assert each["dependencies"]["torch"] == {"version": "2.11"}
        assert each["runners"][0]["cpu_info"] == "Some CPU"
        extras = [each["benchmark"]["extra_info"], each["runners"][0]["extra_info"]]
        assert {type(value) for extra in extras for value in extra.values()} == {str}, "a map of texts"


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_are_the_rows_of_a_summary(form: str, folder: Path) -> None:
    assert export.main([form, "sweep", "-o", "table"]) == 0
    rows = read_table(folder / "table", form)
    summary = load("sweep").summary()
    assert (
        [row["phase"] for row in rows]
        == list(summary["phase"])
        == ["inference", "forward", "total", "inference"]
    )
    assert [float(row["median"]) for row in rows] == list(summary["median"])
    assert list(rows[0]) == list(summary.columns)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_of_samples_have_each_sample_in_order(form: str, folder: Path) -> None:
    assert export.main([form, "one", "--samples", "-o", "table"]) == 0
    rows = read_table(folder / "table", form)
    assert [float(row["seconds"]) for row in rows] == SAMPLES
    assert [(int(row["round"]), int(row["sample"])) for row in rows][4:6] == [(0, 4), (1, 0)]
    assert {int(row["calls_per_sample"]) for row in rows} == {3}


def read_table(path: Path, form: str) -> list[dict[str, Any]]:
    if form == "csv":
        return list(csv.DictReader(io.StringIO(path.read_text())))
    parquet = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def test_cases_are_chosen_by_their_axes(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    found = exported(capsysbinary, "pytest-benchmark", "sweep", "--where", "mode=infer,allocator=tuned")
    assert [each["name"] for each in found["benchmarks"]] == [f"{TUNED}: inference"]


def test_cases_without_times_are_left_out_and_told(
    capsysbinary: pytest.CaptureFixture[bytes], folder: Path
) -> None:
    assert export.main(["hyperfine", "some"]) == 0
    out, err = capsysbinary.readouterr()
    assert len(json.loads(out)["results"]) == 1
    first = "dense infer, batch_size=8, measure.rounds=1: error: it broke"
    assert err.decode() == f"microbench: 2 left out: {first}; and 1 more\n"


def test_the_same_case_of_two_runs_is_told_apart(
    capsysbinary: pytest.CaptureFixture[bytes], folder: Path
) -> None:
    names = [each["name"] for each in exported(capsysbinary, "pytest-benchmark", "one", "slow")["benchmarks"]]
    assert names == [f"{INFER}, r: inference", f"{INFER}, t: inference"]


@pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow is not installed: pip install -e '.[mlflow]'")
def test_mlflow_gets_a_run_per_case(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    arguments = ["mlflow", str(folder / "sweep"), "--tracking-uri", uri, "--experiment", "nightly"]
    assert export.main(arguments) == 0
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("nightly")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {*runs} == {INFER, TRAIN, TUNED}
    run = runs[INFER]
    assert run.data.metrics["inference_s"] == pytest.approx(1.2)
    assert run.data.metrics["inference_items_per_s"] == pytest.approx(8 / 1.2)
    assert run.data.metrics["peak_memory_bytes"] == 1001
    assert (run.data.params["batch_size"], run.info.status) == ("8", "FINISHED")
    assert run.data.tags["microbench.torch"] == "2.11"
    artifact = client.download_artifacts(run.info.run_id, "records.jsonl", str(tmp_path))
    assert [each.round for each in load(artifact).records] == [0, 1, 2]


def test_a_missing_mlflow_is_told_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match=r"MLflow cannot be imported .*pip install.*\[mlflow\]"):
        export.main(["mlflow", "one"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Give a format and the runs to export: microbench export FORMAT PATH."),
        (["csv"], "Give a format and the runs to export: microbench export FORMAT PATH."),
        (
            ["hyprfine", "one"],
            "Unknown format 'hyprfine'. Did you mean hyperfine? Allowed: csv, google-benchmark",
        ),
        (["csv", "nowhere"], "Cannot read nowhere: No such file or directory."),
        (["csv", "noise"], "Cannot read noise: no line of it is a record"),
        (
            ["csv", "newer"],
            "its records have schema_version 99, and this microbench reads 3: update microbench",
        ),
        (["csv", "empty"], "Nothing to export: empty has no records."),
        (["csv", "bad"], "Nothing to export: dense infer, batch_size=8: error: it broke."),
        (["csv", "sweep", "--phase", "totl"], "Unknown phase 'totl'. Did you mean total?"),
        (["csv", "one", "--phase", "infrence"], "Unknown phase 'infrence'. Did you mean inference?"),
        (["csv", "sweep", "--where", "mode=profile"], "Unknown mode 'profile'. Allowed: infer, train."),
        (["csv", "sweep", "--where", "mod=train"], "Unknown axis 'mod'. Did you mean mode"),
        (["csv", "one", "-o", "nowhere/table"], "Cannot write nowhere/table: No such file or directory."),
        (["csv", "one", "-o", "."], "Cannot write .: Is a directory."),
        (["csv", "one", "--sampls"], "Unknown option '--sampls'. Did you mean --samples?"),
        (["pyperf", "one", "--samples"], "--samples is for csv and parquet: pyperf has every sample."),
        (["pyperf", "one", "--experiment", "x"], "--experiment is for mlflow, not for pyperf."),
        (["mlflow", "one", "-o", "x"], "-o is for files: mlflow writes to --tracking-uri."),
    ],
)
def test_a_mistake_is_answered_in_one_line(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError) as told:
        export.main(arguments)
    assert words in str(told.value)
    assert told.value.exit_code == 2


def test_rounds_of_no_time_have_no_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    summary = replace(summarize([1.0]), median=0.0)
    series = series_of("inference", [1.0], summary)
    write(tmp_path / "zero", [record_of({"inference": series}, round=number) for number in range(2)])
    found = exported(capsysbinary, "google-benchmark", "zero")["benchmarks"]
    assert all("items_per_second" not in each for each in found)
    assert [each["metric"]["name"] for each in exported(capsysbinary, "pytorch", "zero")] == [
        "inference_latency(s)"
    ]


def test_a_start_that_is_no_date_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "when", [record_of({"inference": 1.0}, started_at="yesterday")])
    with pytest.raises(UserError, match="a record has started_at='yesterday', which is none in ISO 8601"):
        export.main(["pytorch", "when"])
