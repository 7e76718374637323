"""Shared by these tests: tiny cases, and the programs that engines make of them."""

from __future__ import annotations

from functools import cache
from typing import Any

from microbench import devices, engines, modes, workloads
from microbench.config import Config
from microbench.devices import Device
from microbench.engines import Job, Program
from microbench.modes import Mode
from microbench.options.compose import from_options
from microbench.schema import with_values
from microbench.verify import verify
from microbench.verify.judging import Checked


@cache
def _tiny() -> Config:
    options = {
        "model": "layer",
        "model.cls": "torch.nn.Linear",
        "model.args": [4, 3],
        "model.input_shape": [4],
        "device": "cpu",
        "threads": 1,
        "batch_size": 2,
    }
    (case,) = from_options(options, sweep=False)
    return case.config


def config(mode: str = "infer", **options: Any) -> Config:
    """Return a linear layer's case on the CPU, with these values; `__` in a key stands for a dot."""
    values = {key.replace("__", "."): value for key, value in options.items()}
    found: Config = with_values(_tiny(), {"mode.name": mode} | values)
    return found


def parts(of: Config) -> tuple[Device, Mode]:
    return devices.open_device("cpu"), modes.find(of.mode.name)


def program(of: Config) -> Program:
    """Return the program that the case's engine makes of its workload."""
    device, mode = parts(of)
    workload = workloads.build(of.model, of.batch_size, device.torch_device(), mode.TRAINING, of.seed)
    return engines.prepare(Job(workload, of, mode.TRAINING))


def checked(of: Config, ready: Program | None = None) -> Checked:
    """Check the answer of a program; by default the one that the case's engine makes."""
    return verify(of, *parts(of), ready or program(of))
