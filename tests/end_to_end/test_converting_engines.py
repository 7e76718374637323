"""Engines of other libraries, from the command line: workers are forked from a server that imported them."""

from __future__ import annotations

from pathlib import Path

from .support import by_case, measure


def test_modules_are_converted_and_quantized_in_forked_workers_and_compute_the_same(tmp_path: Path) -> None:
    done = measure(
        *("-m", "model=dense", "batch_size=2", "mode=infer", "precision=int8"),
        "engine=onnxruntime,openvino,tensorrt",
        cwd=tmp_path,
    )
    assert done.code == 0, done.err
    ort, openvino, tensorrt = by_case(done.records)
    assert [case[0]["status"] for case in (ort, openvino, tensorrt)] == ["ok", "ok", "skipped"]
    assert [case[0]["answer"] for case in (ort, openvino)] == ["same", "same"]
    assert ort[0]["env_engine"].startswith("onnxruntime ")
    assert openvino[0]["env_engine"].startswith("openvino ")
    assert "engine=tensorrt does not support device=cpu" in tensorrt[0]["error"]
    assert "Warning" not in done.err
