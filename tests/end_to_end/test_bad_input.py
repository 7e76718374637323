"""Mistakes: each gets one line that says what is wrong and what would be right."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from microbench.api import run
from microbench.errors import ExitCode, UserError

from .support import QUICK, Finished, microbench

MISTAKES: dict[str, tuple[str, ...]] = {
    # What is typed (options are split at the spaces), and the words of the answer.
    "model=vgg61": ("Unknown model 'vgg61'. Did you mean vgg16, vgg11", "`microbench list models layers`"),
    "model=": ("Unknown model ''",),
    "mode=infer": ("Give a model, for example model=resnet18", "`microbench list models`"),
    "-m": ("Give a model",),
    "model=dense batchsize=8": ("Unknown option 'batchsize'. Did you mean batch_size?",),
    "model=dense +foo=1": ("Unknown option 'foo'",),
    "model=dense --dryrun": ("Unknown flag --dryrun. Did you mean --dry-run?",),
    "model=dense --dry_run": ("Unknown flag --dry_run. Did you mean --dry-run?",),
    "model=dense dry_run=true": ("Unknown option 'dry_run'. Did you mean --dry-run?",),
    "model=dense --dry-run=true": ("--dry-run takes no value",),
    "model=dense --dry-run --csv --json": ("Give one of --csv and --json",),
    "doctor --dry-run": ("doctor has no --dry-run",),
    "doctor --csv": ("--csv is not possible here",),
    "model=dense measure.rel_cii=0.1": ("Unknown option 'measure.rel_cii'. Did you mean measure.rel_ci?",),
    "model=dense model.inputshape=[3]": (
        "Unknown option 'model.inputshape'. Did you mean model.input_shape",
    ),
    "model=dense engine=eagre": ("Unknown engine 'eagre'. Did you mean eager?",),
    "model=dense mode=trian": ("Unknown mode 'trian'. Did you mean train?", "infer, layers, profile, train"),
    "model=dense device=tpu": ("Unknown device 'tpu'", "auto, cpu, cuda"),
    "model=dense precision=fp23": ("Unknown precision 'fp23'. Did you mean fp32?",),
    "model=dense optimizer=adamm": ("Unknown optimizer 'adamm'. Did you mean adam",),
    "model=dense isolation=forkk": ("Unknown isolation 'forkk'. Did you mean fork?", "fork, inline, spawn"),
    "model=dense allocator=jemallo": (
        "Unknown allocator 'jemallo'. Did you mean jemalloc, tcmalloc",
        "system, tcmalloc, tuned",
    ),
    "model=dense affinity=compct": (
        "affinity=compct is not possible: give none, compact, gpu, or a list of CPUs",
    ),
    "model=dense affinity=[]": ("affinity=[] is not possible: give none, compact, gpu, or a list of CPUs",),
    "model=dense affinity=[-1]": ("affinity=[-1] is not possible",),
    "model=dense interop_threads=0": ("interop_threads=0 is not possible: give an integer of at least 1",),
    "model=dense flush_denormal=perhaps": ("flush_denormal=perhaps must be true or false",),
    "model=dense measure.cold_cache=cold": ("measure.cold_cache=cold must be true or false",),
    "model=dense measure.rounds=0": ("measure.rounds=0 is not possible: give an integer of at least 1",),
    "model=dense schedule=interlaced": (
        "Unknown schedule 'interlaced'. Did you mean interleaved?",
        "interleaved, sequential",
    ),
    "model=dense schedule_seed=-1": (
        "schedule_seed=-1 is not possible",
        "or null for a new one, which is recorded",
    ),
    "model=dense isolation=inline measure.rounds=6": (
        "isolation=inline runs in one process; set measure.rounds=1 (got 6).",
    ),
    "-m model=dense schedule=interleaved,sequential": (
        "schedule=interleaved,sequential cannot be swept over: a run has one schedule",
    ),
    "-m model=dense schedule_seed=1,2": ("schedule_seed=1,2 cannot be swept over",),
    "model=dense resume=nosuch": ("resume=nosuch: there is no such folder",),
    "resume=nosuch": ("resume=nosuch: there is no such folder",),
    "resume=fil": ("resume=fil: there is no such folder",),
    "resume=emty": ("resume=emty: there is no such folder. Did you mean empty?",),
    "resume=": ("resume= names no folder",),
    "model=dense resume=": ("resume= names no folder",),
    "resume=empty": ("resume=empty: it contains no records yet: give the run's options as well",),
    "-m model=dense resume=empty,nosuch": ("resume=empty,nosuch: there is no such folder",),
    "model=dense batch_size=abc": ("batch_size=abc must be an integer",),
    "model=dense batch_size=1.5": ("batch_size=1.5 must be an integer",),
    "model=dense batch_size=null": ("batch_size must be an integer",),
    "model=dense batch_size=-1": ("batch_size=-1 is not possible: give an integer of at least 1",),
    "model=dense batch_size=0": ("batch_size=0 is not possible: give an integer of at least 1",),
    "model=dense batch_size=[": ("Cannot read the option 'batch_size=['", "key=value"),
    "model=dense batch_size=${nosuch}": ("nosuch",),
    "model=dense threads=0": ("threads=0 is not possible: give an integer of at least 1, or null",),
    "model=dense seed=-1": ("seed=-1 is not possible",),
    "model=dense timeout=0": ("timeout=0.0 is not possible: give a number of seconds above 0, or null",),
    "model=dense measure.rel_ci=0": ("measure.rel_ci=0.0 is not possible: give a share between 0 and 1",),
    "model=dense measure.rel_ci=2": ("measure.rel_ci=2.0 is not possible: give a share between 0 and 1",),
    "model=dense measure.rel_ci=nan": ("measure.rel_ci=nan is not possible",),
    "model=dense measure.budget=0": (
        "measure.budget=0.0 is not possible: give a number of seconds above 0, or null for no limit",
    ),
    "model=dense measure.budget=-5": (
        "measure.budget=-5.0 is not possible: give a number of seconds above 0",
    ),
    "model=dense measure.budget=inf": ("measure.budget=inf is not possible", "or null for no limit"),
    "model=dense measure.budget=long": ("measure.budget=long must be a number or null",),
    "model=dense measure.budgt=5": ("Did you mean measure.budget?",),
    "+experiment=fastest model=dense mode=infer experiment.budget=0": (
        "experiment.budget=0.0 is not possible",
    ),
    "model=dense measure.max_time=0": ("measure.max_time=0.0 is not possible",),
    "model=dense measure.min_samples=0": ("measure.min_samples=0 is not possible",),
    "model=dense model.input_shape=[0]": ("model.input_shape=[0] is not possible",),
    "model=dense model.input_shape=3": ("model.input_shape must be a list, such as [3,224,224]",),
    "model=dense model.input_grad=perhaps": ("model.input_grad=perhaps must be true or false",),
    "model=layer": ("must be given", "model.input_shape=[1024]"),
    "model=layer model.input_shape=[4]": ("model.cls must be given, for example model.cls=torch.nn.GELU",),
    "model=dense,relu": ("model=dense,relu names several values: add -m",),
    "-m model=dense batch_size=8,0": ("batch_size=0 is not possible",),
    "-m model=dense,vgg61": ("Unknown model 'vgg61'. Did you mean vgg16",),
    "-m model=glob(nosuch*)": ("model=glob(nosuch*) matches nothing", "`microbench list`"),
    "--foo": ("Unknown flag --foo", "`microbench --help`"),
    "model=dense --foo": ("Unknown flag --foo", "`microbench --help`"),
    "model=dense --cfg=everything": ("everything", "job"),
    "--config-name=nosuch model=dense": ("Unknown flag --config-name",),
    "--config-dir=nosuch model=dense": ("--config-dir nosuch: there is no such folder",),
    "model=dense hydra.run.dir=/proc/x": ("Cannot write /proc/x", "hydra.run.dir=DIR"),
    "model=dense hydra.run.dir=file/below": (
        "Cannot write file/below/records.jsonl: Not a directory",
        "hydra.run.dir=DIR",
    ),
    "-m model=dense hydra.run.dir=file": (
        "Cannot write file/records.jsonl: File exists",
        "hydra.run.dir=DIR",
    ),
    "lsit": ("Unknown command 'lsit'. Did you mean list?",),
    "list modles": ("Unknown kind to list 'modles'. Did you mean", "models", "layers"),
}


@pytest.fixture(scope="module")
def answered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finished]:
    """What each mistake that this session asks for is answered with; as many at once as there are CPUs."""

    def answer(typed: str, folder: Path) -> Finished:
        (folder / "file").write_text("not a folder")
        (folder / "empty").mkdir()
        return microbench(*typed.split(), cwd=folder)

    asked = [
        item.callspec.params["typed"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and "answered" in item.fixturenames
    ]
    folders = [tmp_path_factory.mktemp("mistake") for _ in asked]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(asked, pool.map(answer, asked, folders), strict=True))


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_answered_in_one_line_with_what_would_be_right(
    typed: str, answered: dict[str, Finished]
) -> None:
    complaint = answered[typed].complaint
    for words in MISTAKES[typed]:
        assert words in complaint


@pytest.mark.parametrize(
    "typed",
    [
        "model=vgg61",
        "model=dense batch_size=0",
        "model=dense batch_size=${nosuch}",
        "model=layer",
        "-m model=dense batch_size=8,0",
        "-m model=dense,vgg61",
        "-m model=glob(nosuch*)",
        "-m model=dense schedule=interleaved,sequential",
        "model=dense resume=nosuch",
    ],
)
def test_a_mistake_leaves_no_file_and_no_folder_of_a_run_behind(typed: str, tmp_path: Path) -> None:
    assert microbench(*typed.split(), cwd=tmp_path).complaint
    assert [path.name for path in tmp_path.rglob("*") if path.name != "outputs"] == []


@pytest.mark.parametrize("budget", [0, -1.5, float("nan"), float("inf"), "long"])
def test_a_budget_from_python_is_checked_before_anything_is_written(budget: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"measure\.budget=.* (is not possible|must be a number)"):
        run(model="dense", folder=tmp_path / "run", measure={"budget": budget})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)])
def test_a_device_that_is_not_there_says_which_is(tmp_path: Path, form: tuple[str, ...]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("it is there")
    complaint = microbench("model=dense", "device=cuda", *QUICK, *form, cwd=tmp_path).complaint
    assert "device=cuda cannot be used here: " in complaint
    assert "use device=cpu" in complaint


FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    # A user's file model/mine.yaml, and the words of the answer.
    "syntax": ("source: layer\ncls: [unclosed\nname: mine\n", ("model/mine.yaml", "line 3")),
    "tab": ("source: layer\n\tname: mine\n", ("model/mine.yaml", "line 2")),
    "encoding": ("source: \udcff\n", ("model/mine.yaml",)),
    "list": ("- source\n- layer\n", ("model/mine", "it must hold keys with values")),
    "unknown key": (
        "source: layer\ncls: torch.nn.GELU\ninput_shapes: [4]\ninput_shape: [4]\n",
        ("model.input_shapes", "Did you mean model.input_shape"),
    ),
    "wrong type": (
        "source: layer\ncls: torch.nn.GELU\ninput_shape: four\n",
        ("model.input_shape must be a list, such as [3,224,224]",),
    ),
    "wrong item": (
        "source: layer\ncls: torch.nn.GELU\ninput_shape: [four]\n",
        ("model.input_shape", "'four'"),
    ),
    "missing key": ("source: layer\ncls: torch.nn.GELU\n", ("model.input_shape must be given",)),
    "empty": ("", ("Give model.file=FILE.py:NAME or model.target=", "says what builds the model")),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_fault_in_a_user_s_file_is_reported_with_its_place(fault: str, tmp_path: Path) -> None:
    text, answer = FILES[fault]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(text, errors="surrogateescape")
    complaint = microbench("--config-dir=.", "model=mine", cwd=tmp_path).complaint
    for words in answer:
        assert words in complaint


def test_a_name_in_a_user_s_folder_is_among_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "squeezer.yaml").write_text("source: layer\n")
    complaint = microbench("--config-dir=.", "model=squeezr", cwd=tmp_path).complaint
    assert "Did you mean squeezer" in complaint


def test_a_folder_of_another_version_s_records_is_refused_before_measuring(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text('{"schema_version":1,"run_id":"r"}\n')
    complaint = microbench("model=dense", "hydra.run.dir=.", cwd=tmp_path).complaint
    assert complaint.startswith(
        "microbench: Cannot add records to records.jsonl: its records have schema_ver"
    )


def broken_torch(folder: Path, *arguments: str) -> Finished:
    """Return the command where importing torch fails, as with a wheel that does not fit the machine."""
    (folder / "torch.py").write_text("raise ImportError('libtorch_cpu.so: undefined symbol')\n")
    return microbench("model=dense", *arguments, cwd=folder, env={"PYTHONPATH": str(folder)})


@pytest.mark.parametrize("isolation", ["fork", "spawn", "inline"])
def test_a_torch_that_cannot_be_imported_is_reported_with_the_reason(isolation: str, tmp_path: Path) -> None:
    broken = broken_torch(tmp_path, f"isolation={isolation}", "measure.rounds=1")
    assert "libtorch_cpu.so: undefined symbol" in broken.complaint_with(ExitCode.FAILED)


def test_hydra_s_own_traceback_is_there_for_who_asks(tmp_path: Path) -> None:
    asked = microbench("model=vgg61", cwd=tmp_path, env={"HYDRA_FULL_ERROR": "1"})
    assert asked.code == 1
    assert "Traceback" in asked.err


def test_options_may_come_before_and_after_a_flag(tmp_path: Path) -> None:
    shown = microbench("model=dense", "--cfg=job", "batch_size=3", cwd=tmp_path)
    assert shown.code == 0, shown.err
    assert "batch_size: 3" in shown.out
