"""`microbench query` on records that the tests write."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from factory import BUSY, QUIET, configured, record_of

from microbench.cli import query
from microbench.errors import ExitCode, UserError
from microbench.records.record import Outcome, Status
from microbench.records.store import Store
from microbench.records.views import VIEWS

BY_MODEL = """\
select model, median(median) as seconds, sum(n) as n from series where counts group by all order by all"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with two runs in `outputs`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for run in ("a", "b"):
        with Store(Path("outputs") / run) as store:
            for number in range(4):
                busy = BUSY if number == 3 else QUIET
                times = {"inference": [1.0 + number, 2.0 + number, 3.0 + number]}
                config = configured(model__name=f"model-{run}")
                store.append(record_of(times, config, run=run, round=number, readings=busy))
            store.append(record_of(run=run, order=1, outcome=Outcome(status=Status.OOM, error="no memory")))
    return tmp_path


Ask = Callable[..., str]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run the command, and return its standard output; standard error must be empty unless it is given."""

    def run(*words: str, err: str = "") -> str:
        assert query.main(words) == 0
        found = capsys.readouterr()
        assert found.err == err
        return found.out

    return run


def test_a_table_has_numbers_at_the_right_and_what_counts_alone(ask: Ask) -> None:
    assert ask(BY_MODEL).splitlines() == ["model    seconds  n", "model-a        3  9", "model-b        3  9"]
    assert ask(BY_MODEL, "outputs/b", "outputs/b").splitlines()[1:] == ["model-b        3  9"]


def test_the_rows_are_the_same_in_every_format(ask: Ask, tmp_path: Path) -> None:
    expected = [{"model": f"model-{run}", "seconds": 3.0, "n": 9} for run in "ab"]
    assert [json.loads(line) for line in ask(BY_MODEL, "--json").splitlines()] == expected
    read = csv.DictReader(io.StringIO(ask(BY_MODEL, "--csv")))
    assert [{**row, "seconds": float(row["seconds"]), "n": int(row["n"])} for row in read] == expected
    for name in ("answer.json", "answer.csv", "answer.parquet"):
        assert ask(BY_MODEL, "-o", name) == ""
    assert Path("answer.json").read_text() == ask(BY_MODEL, "--json")
    assert Path("answer.csv").read_text() == ask(BY_MODEL, "--csv")
    table = pq.read_table("answer.parquet")
    assert [{**row, "n": int(row["n"])} for row in table.to_pylist()] == expected
    assert sorted(each.name for each in tmp_path.glob(".*")) == []


def test_the_samples_are_there_in_order(ask: Ask) -> None:
    sql = "select number, seconds from samples where run_id = 'a' and round = 1 order by number"
    rows = [json.loads(line) for line in ask(sql, "--json").splitlines()]
    assert rows == [{"number": number, "seconds": 2.0 + number} for number in range(3)]


def test_failed_rounds_say_why(ask: Ask) -> None:
    sql = "select run_id, status, error, counts from rounds where status <> 'ok' order by 1"
    assert [json.loads(line) for line in ask(sql, "--json").splitlines()] == [
        {"run_id": run, "status": "oom", "error": "no memory", "counts": False} for run in "ab"
    ]


def test_the_views_are_all_there_is(ask: Ask) -> None:
    assert [json.loads(line)["name"] for line in ask("show tables", "--json").splitlines()] == sorted(VIEWS)


def test_nothing_is_left_of_what_did_not_fit_in_memory(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    sql = "select current_setting('temp_directory') as folder"
    folder = Path(json.loads(ask(sql, "--json"))["folder"])
    assert folder.parent == tmp_path / "temporary"
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_columns_of_equal_names_are_refused_where_one_would_be_lost(form: str, ask: Ask) -> None:
    said = r"^2 columns are called a: give each another name, … as NAME\.$"
    with pytest.raises(UserError, match=said):
        query.main(["select 1 as a, 2 as a, 3 as b", f"--{form}", "-o", "answer"])
    assert not Path("answer").exists()
    assert ask("select 1 as a, 2 as a", "--csv").splitlines()[0] == "a,a"


def test_no_row_is_said_in_one_line(ask: Ask) -> None:
    said = "microbench: the query returns no rows\n"
    assert ask("select model from series where false", err=said) == "model\n"
    assert ask("select model from series where false", "--csv", err=said) == "model\n"
    assert ask("select model from series where false", "--json", err=said) == ""


def test_long_cells_and_many_rows_are_cut_with_a_note(ask: Ask) -> None:
    lines = ask("select repeat('x', 100) as text, i from range(1005) t(i)").splitlines()
    assert len(lines) == 1002
    assert lines[1].split() == ["x" * 79 + "…", "0"]
    assert lines[-1] == "5 more rows: give --csv, --json or --parquet for all"


def test_every_column_of_a_view_has_a_short_name(ask: Ask) -> None:
    for view in VIEWS:
        names = [json.loads(line)["column_name"] for line in ask(f"describe {view}", "--json").splitlines()]
        assert {"run_id", "case_order", "round", "counts", "model", "batch_size", "precision"} <= {*names}
        assert not [each for each in names if each.startswith("cfg_")]
        assert len(names) == len({*names})


WRONG = {
    "select modle from series": r"^Unknown column 'modle'\. Did you mean mode.* \(line 1, column 8\)$",
    "select *\nfrom sereis": r"^Unknown view 'sereis'\. Did you mean series\? .* \(line 2, column 6\)$",
    "selct 1": r'^Parser Error: syntax error at or near "selct" \(line 1, column 1\)\.$',
    "select 'a'::int from series": r"^Conversion Error: Could not convert string 'a' to INT32.*\.$",
    "select 1; select 2": r"^Give one statement, not 2\.$",
    "create table a (b int)": r"^The statement returns no rows: give a select\.$",
    "select * from read_text('/etc/hostname')": r"^Permission Error: .*disabled",
    "copy series to 'out.csv'": r"^The statement returns no rows: give a select\.$",
    "set enable_external_access = true": r"^The statement returns no rows: give a select\.$",
    "select 9223372036854775807 * i from range(2, 9) t(i)": r"^Out of Range Error: [^!]*\)\.$",
    "": r"^Give a query",
}


@pytest.mark.parametrize("sql", WRONG)
def test_a_wrong_statement_is_one_line_with_the_place(sql: str) -> None:
    with pytest.raises(UserError, match=WRONG[sql]) as caught:
        query.main([sql])
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--cvs",), r"^Unknown option '--cvs'\. Did you mean --csv\?"),
        (("--csv", "--json"), r"not allowed with argument"),
        (("--parquet",), r"^Parquet goes to a file: give -o FILE\.$"),
        (
            ("-o", "answer.txt"),
            r"^The format of answer\.txt is not clear: give --csv, --json or --parquet\.$",
        ),
        (("-o", "nowhere/answer.csv"), r"^Cannot write nowhere/answer\.csv: No such file or directory\.$"),
        (("-o", "outputs", "--csv"), r"^Cannot write outputs: Is a directory\.$"),
        (("nowhere",), r"^Cannot read nowhere: No such file or directory\.$"),
        (("empty",), r"^No records in empty: no file there is called records\.jsonl\.$"),
        (("image.png",), r"^Cannot read image\.png: no line of it is a record"),
        (("newer.jsonl",), r"schema_version 9, and this microbench reads 3: update microbench"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...], said: str, folder: Path) -> None:
    Path("empty").mkdir()
    Path("image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    Path("newer.jsonl").write_text('{"schema_version":9}\n')
    with pytest.raises(UserError, match=said):
        query.main(["select 1", *words])
    assert not list(folder.glob("answer*"))


def test_a_file_is_as_it_was_before_a_query_that_fails(ask: Ask) -> None:
    Path("answer.csv").write_text("before")
    with pytest.raises(UserError, match="stop"):
        query.main(["select if(i = 90000, error('stop'), i) from range(100000) t(i)", "-o", "answer.csv"])
    assert Path("answer.csv").read_text() == "before"
    assert list(Path().glob(".answer*")) == []
