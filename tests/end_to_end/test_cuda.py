"""The command line with `device=cuda`, in this process, on a GPU that the host stands for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import facade
import pytest
import torch
from facade import Facade

from microbench.cli.main import main
from microbench.devices import cuda
from microbench.engines.libtorch import build
from microbench.errors import SkippedError

from .support import Record, records_in

INLINE = (
    *("device=cuda", "isolation=inline", "threads=1"),
    *("measure.rounds=1", "measure.min_time=0", "measure.max_time=0.05", "measure.max_warmup=0.05"),
)


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Facade]:
    """A GPU with a large tick, so that times which are no multiples of it come from another clock."""
    monkeypatch.chdir(tmp_path)
    with facade.installed(tick=1e-6) as gpu:
        yield gpu


def measured(*arguments: str) -> list[Record]:
    folder = f"hydra.{'sweep' if '-m' in arguments else 'run'}.dir=run"
    assert main([*INLINE, folder, *arguments]) == 0
    return records_in(Path("run"))


@pytest.mark.parametrize(
    "model", ["model=dense", "model=resnet18 model.input_shape=[3,32,32]"], ids=["a layer", "a model"]
)
def test_models_and_layers_infer_and_train(
    model: str, gpu: Facade, capsys: pytest.CaptureFixture[str]
) -> None:
    records = measured("-m", *model.split(), "mode=infer,train", "batch_size=2")
    assert {each["status"] for each in records} == {"ok"}
    assert {each["cfg_device"] for each in records} == {"cuda"}
    assert {each["env_gpu"] for each in records} == {gpu.name}
    assert {each["env_gpu_memory"] for each in records} == {gpu.total_memory}
    assert {each["env_cuda"] for each in records} == {torch.version.cuda}
    is_model = "resnet18" in model
    phases = {"inference", "forward", "backward", "update", "total", *(["loss"] if is_model else [])}
    sampled = [each for each in records if each["phase"] in phases]
    assert {each["phase"] for each in sampled} == phases
    assert {each["answer"] for each in sampled} == {"reference"}
    assert all(each["peak_memory"] is not None for each in sampled)
    out, err = capsys.readouterr()
    assert out.startswith(f"{gpu.name} · ")
    assert "eager, cuda: measuring" in err


def test_times_are_those_of_the_gpus_events(gpu: Facade) -> None:
    records = measured("model=dense", "mode=train", "batch_size=2")
    sampled = [each for each in records if each["phase"] in ("forward", "backward", "update", "total")]
    assert {each["clock"] for each in sampled} == {"cuda_event"}
    for each in sampled:
        ticks = [sample / gpu.tick for sample in each["samples"]]
        assert ticks == pytest.approx([round(tick) for tick in ticks], abs=1e-3)
    assert gpu.log.count("record") >= 4 * len(sampled[0]["samples"])


def test_the_gpus_spin_holds_back_what_comes_after_it() -> None:
    with facade.installed() as gpu:
        begin, end, last = (torch.cuda.Event(enable_timing=True) for _ in range(3))
        begin.record()
        torch.cuda._sleep(int(gpu.rate * 0.05))
        end.record()
        last.record()
        assert not end.query()
        last.synchronize()
        assert begin.elapsed_time(end) >= 50.0
        assert end.elapsed_time(last) < begin.elapsed_time(end)


def test_a_facade_leaves_torch_as_it_was() -> None:
    before = (torch.cuda.is_available, torch.cuda.Event, torch.Event)
    with facade.installed():
        assert torch.cuda.is_available()
    assert (torch.cuda.is_available, torch.cuda.Event, torch.Event) == before


@pytest.mark.long
def test_libtorch_has_a_clock_of_its_own(gpu: Facade) -> None:
    """Its program is linked with torch's CUDA libraries, and has the tensors' device, which is the CPU."""
    try:
        build.program(cuda.Device.libraries)
    except (SkippedError, build.BuildError) as reason:
        pytest.skip(str(reason))
    records = measured("-m", "model=dense", "engine=libtorch", "mode=infer,train", "batch_size=2")
    assert {(each["status"], each["answer"]) for each in records} == {("ok", "same")}
    sampled = [each for each in records if each["phase"] in ("inference", "total")]
    assert {each["clock"] for each in sampled} == {"cuda_event"}
    assert all(0 < each["median"] < 0.1 for each in sampled)
