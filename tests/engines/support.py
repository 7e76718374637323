"""Shared by the tests of engines that capture graphs: tiny modules, their jobs, and eager's answer."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from microbench.config import Config
from microbench.engines import Answer, Job, eager
from microbench.modes import infer, train
from microbench.options.compose import from_options
from microbench.workloads import Workload
from microbench.workloads.objectives import CrossEntropy, OnesGradient


class Net(nn.Module):
    """A convolution, batch normalization, dropout and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.normalization = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.5)
        self.dense = nn.Linear(4 * 6 * 6, 5)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.normalization(self.convolution(images)))
        logits: Tensor = self.dense(self.dropout(features.flatten(1)))
        return logits


@cache
def config_of(engine: str, **options: Any) -> Config:
    given = {"model": "dense", "device": "cpu", "engine": engine, "threads": 1} | options
    return from_options(given, sweep=False)[0].config


def net_job(engine: str, training: bool, **options: Any) -> Job:
    """Return a job that classifies four images, always with the same weights and inputs."""
    torch.manual_seed(0)
    objective = CrossEntropy(torch.tensor([0, 1, 2, 3]), aux_weight=0.0)
    return Job(
        Workload("net", Net(), (torch.randn(4, 3, 6, 6),), objective), config_of(engine, **options), training
    )


def job_of(module: nn.Module, *inputs: Tensor, engine: str, training: bool = False, **options: Any) -> Job:
    return Job(Workload("tiny", module, inputs, OnesGradient()), config_of(engine, **options), training)


def eagers(job: Job) -> Answer:
    """Return eager fp32's answer for a job, which nothing else may use."""
    program = eager.prepare(Job(job.workload, config_of("eager"), job.training))
    return (train if job.training else infer).Mode().answer(program)


def assert_same(found: Answer, wanted: Answer, tolerance: float = 1e-4) -> None:
    """Assert that the errors of outputs and gradients are at most a share of the largest of each."""
    assert len(found.outputs) == len(wanted.outputs) > 0
    assert len(found.gradients) == len(wanted.gradients)
    pairs = zip((*found.outputs, *found.gradients), (*wanted.outputs, *wanted.gradients), strict=True)
    for one, other in pairs:
        largest = other.abs().max().item()
        torch.testing.assert_close(one.float(), other.float(), rtol=0, atol=tolerance * max(largest, 1e-3))
