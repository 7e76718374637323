"""Commands that do not measure, and what a terminal shows during measuring."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import threading
from pathlib import Path

import pytest
import yaml

from .support import COMMAND, PATIENCE, QUICK, Finished, environment, microbench, records_in


@pytest.fixture(scope="module")
def helped(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return microbench("--help", cwd=tmp_path_factory.mktemp("help"))


def test_help_gives_usage_and_examples(helped: Finished) -> None:
    assert helped.code == 0
    assert helped.err == ""
    assert "microbench model=NAME [option=value …]" in helped.out
    assert "microbench model=vgg16 device=cpu mode=train" in helped.out


@pytest.mark.parametrize(
    "family", ["alexnet", "resnet", "vgg", "swin_transformer", "vision_transformer", "others"]
)
def test_help_lists_the_families_of_models(helped: Finished, family: str) -> None:
    assert re.search(rf"^  {family} +\w+", helped.out, re.MULTILINE)


@pytest.mark.parametrize(
    "option",
    [
        "device=auto",
        "engine=eager",
        "mode=infer",
        "optimizer=sgd",
        "precision=fp32",
        "batch_size=8",
        "threads=null",
        "interop_threads=null",
        "affinity=none",
        "allocator=system",
        "flush_denormal=false",
        "seed=0",
        "isolation=fork",
        "timeout=1800.0",
        "schedule=null",
        "schedule_seed=null",
        "resume=null",
        "measure.budget=30.0",
        "measure.rounds=null",
        "measure.rel_ci=0.05",
        "measure.max_time=5.0",
        "measure.cold_cache=false",
        "hydra.run.dir=DIR",
    ],
)
def test_help_explains_each_option_next_to_its_default(helped: Finished, option: str) -> None:
    assert re.search(rf"^  {re.escape(option)} +\w+", helped.out, re.MULTILINE)


def test_help_names_every_layer(helped: Finished, layers: list[str]) -> None:
    assert set(layers) <= set(re.findall(r"\w+", helped.out))


def test_no_arguments_is_a_call_for_help(helped: Finished, tmp_path: Path) -> None:
    bare = microbench(cwd=tmp_path)
    assert (bare.code, bare.out) == (0, helped.out)


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    shown = microbench("--version", cwd=tmp_path)
    assert shown.code == 0
    assert re.fullmatch(r"microbench \d+\.\d+\.\d+\n", shown.out)


def test_the_models_are_listed_one_a_line_in_a_pipe(tmp_path: Path) -> None:
    listed = microbench("list", "models", cwd=tmp_path)
    names = listed.out.splitlines()
    assert listed.code == 0
    assert len(names) == len(set(names)) >= 121
    assert all(re.fullmatch(r"\w+", name) for name in names)
    assert {"vgg16", "resnet50", "vit_b_16", "googlenet", "inception_v3"} <= set(names)
    assert {"fasterrcnn_resnet50_fpn", "raft_small", "yolov5s"} <= set(names)
    assert not {"dense", "layer"} & set(names)


def test_the_layers_are_listed(layers: list[str]) -> None:
    assert {"dense", "conv3x3_1", "conv5x5_2", "batchnorm", "lstm", "multihead_attention"} <= set(layers)
    assert len(layers) >= 20


def test_everything_is_listed_by_kind(tmp_path: Path) -> None:
    listed = microbench("list", cwd=tmp_path)
    assert listed.code == 0
    headings = [line for line in listed.out.splitlines() if re.fullmatch(r"[a-z]+", line)]
    assert headings[:2] == ["models", "layers"]
    assert {"devices", "engines", "modes", "optimizers", "precisions"} <= set(headings)


@pytest.mark.parametrize("kind", ["devices", "engines", "measures", "modes", "optimizers", "precisions"])
def test_an_option_s_values_are_listed(kind: str, helped: Finished, tmp_path: Path) -> None:
    names = microbench("list", kind, cwd=tmp_path).out.splitlines()
    assert names
    assert set(names) <= set(re.findall(r"\w+", helped.out)) | {"standard"}


def test_a_configuration_can_be_shown_without_measuring(tmp_path: Path) -> None:
    shown = microbench("--cfg", "job", "model=dense", "batch_size=3", cwd=tmp_path)
    assert shown.code == 0, shown.err
    config = yaml.safe_load(shown.out)
    assert config["model"]["cls"] == "torch.nn.Linear"
    assert config["batch_size"] == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "among"),
    [
        ("microbench model=vgg1", "model=vgg16"),
        ("microbench model=den", "model=dense"),
        ("microbench model=vgg16 mode=tr", "mode=train"),
        ("microbench model=vgg16 batch", "batch_size="),
        ("microbench model=vgg16 measure.rel", "measure.rel_ci="),
    ],
)
def test_the_shell_completes_names(line: str, among: str, tmp_path: Path) -> None:
    env = {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    completed = microbench("-sc", "query=bash", cwd=tmp_path, env=env)
    assert completed.code == 0, completed.err
    assert among in completed.out.split()
    word = line.split()[-1]
    assert all(each.startswith(word) for each in completed.out.split())


@pytest.mark.parametrize("arguments", ["list", "--help", "--cfg=job model=dense"])
def test_a_reader_that_leaves_early_causes_no_complaint(arguments: str, tmp_path: Path) -> None:
    """As `microbench list | head -1` does."""
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb") as pipe:
        done = subprocess.run(
            [*COMMAND, *arguments.split()],
            cwd=tmp_path,
            env=environment(),
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_an_output_that_has_no_such_letters_gets_others(tmp_path: Path) -> None:
    """Rather than a traceback once all is measured; the tables have a µ, a ± and an en dash."""
    shown = microbench("--help", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert shown.code == 0, shown.err
    assert "microbench model=NAME" in shown.out


class Terminal:
    """A command in a terminal of its own, from its start on."""

    def __init__(self, folder: Path, **env: str) -> None:
        self._ours, theirs = pty.openpty()
        self._chunks: list[bytes] = []
        self._process = subprocess.Popen(
            [*COMMAND, "model=dense", "mode=infer", "device=cpu", *QUICK],
            cwd=folder,
            env=environment({"TERM": "xterm", "COLUMNS": "110"} | env),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._ours, 65536)
            except OSError:  # how Linux says that no one writes there any more
                return
            if not chunk:
                return
            self._chunks.append(chunk)

    def shown(self) -> str:
        """Wait for its end; everything it wrote."""
        code = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        os.close(self._ours)
        text = b"".join(self._chunks).decode()
        assert code == 0, text
        return text


@pytest.fixture(scope="module")
def two_terminals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Two runs started at the same time in one folder, one of them with NO_COLOR: what each showed."""
    folder = tmp_path_factory.mktemp("terminals")
    colored, plain = Terminal(folder), Terminal(folder, NO_COLOR="1")
    return folder, colored.shown(), plain.shown()


CURSOR = re.compile(r"\x1b\[(?:\?25[lh]|\d*[AK])")  # hide and show it, move it up, clear its line


def test_a_terminal_shows_what_is_going_on(two_terminals: tuple[Path, str, str]) -> None:
    _, shown, _ = two_terminals
    assert len(CURSOR.findall(shown)) >= 4
    for doing in ("importing torch", "building", "warming up"):
        assert doing in shown


def test_the_cursor_is_restored(two_terminals: tuple[Path, str, str]) -> None:
    _, shown, _ = two_terminals
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1
    assert shown.index("\x1b[?25l") < shown.index("\x1b[?25h")


def test_a_terminal_shows_the_table_before_the_report(two_terminals: tuple[Path, str, str]) -> None:
    _, shown, _ = two_terminals
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown)
    assert len(re.findall(r"phase +median +95 % CI \(one process\)", text)) >= 2


def test_no_color_prints_plain_lines(two_terminals: tuple[Path, str, str]) -> None:
    _, _, shown = two_terminals
    assert not CURSOR.search(shown)
    assert not re.search(r"\x1b\[[\d;]*3[0-7]m", shown)
    case = "[1/1] dense infer, batch 8, eager, cpu"
    begin, *others = [line for line in shown.splitlines() if line.startswith(case)]
    assert begin == f"{case}: measuring"
    assert all(line.startswith(f"{case}: inference ") for line in others)


def test_runs_started_together_write_to_different_folders(two_terminals: tuple[Path, str, str]) -> None:
    folder, *both = two_terminals
    runs = sorted((folder / "outputs").iterdir())
    assert len(runs) == 2
    for run in runs:
        assert {record["run_id"] for record in records_in(run)} == {run.name}
        assert len(records_in(run)) == 3
    named = {found[1] for shown in both if (found := re.search(r"records: (\S+)/records.jsonl", shown))}
    assert named == {f"outputs/{run.name}" for run in runs}
