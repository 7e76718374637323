"""What torch itself says of a driver that does not start, as a line of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest
import torch

SETTINGS: dict[str, dict[str, str]] = {
    "none": {"FAKE_CUDA_INIT": "100"},
    "old": {"FAKE_CUDA_INIT": "100", "FAKE_CUDA_VERSION": "11040"},
    "busy": {"FAKE_CUDA_INIT": "46"},
    "hidden": {"FAKE_CUDA_INIT": "100", "CUDA_VISIBLE_DEVICES": ""},
}

# Each in a fork of a process that has imported torch: a driver starts once.
SCRIPT = """
import json, os, sys
from microbench import devices

for name, variables in json.loads(sys.argv[1]).items():
    if os.fork() == 0:
        os.environ.update(variables)
        choice, device = devices.choice(), devices.find("cuda")
        print(json.dumps([name, choice.usable[0].name, choice.passed_over, device.missing()]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(torch.version.cuda is None, reason="this torch is built without CUDA")
def test_torchs_reasons_are_told_and_only_where_there_is_a_gpu(driver: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(SETTINGS)],
        env={**os.environ, **driver},
        capture_output=True,
        text=True,
        check=True,
    )
    found = {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}
    absent = "torch finds no NVIDIA GPU with a working driver; use device=cpu"
    assert found["none"] == found["hidden"] == ["cpu", None, absent]
    for name, words in (("old", "driver on your system is too old (found version 11040)"), ("busy", "busy")):
        device, passed_over, missing = found[name]
        assert (device, missing) == ("cpu", None)
        assert words in passed_over
        assert passed_over.startswith("device=auto takes device=cpu: device=cuda cannot be used here (")
        assert "\n" not in passed_over
