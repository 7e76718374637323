import torch
from torch import Tensor, nn

from microbench.devices import find
from microbench.profile.study import Study, measure_memory
from microbench.profile.trace import trace
from microbench.records.record import Kind

KIB = 1024
ROW = 256 * KIB  # bytes of the tensors below


class Allocates(nn.Module):
    """Creates a temporary tensor as large as its input, and returns a new one."""

    def forward(self, x: Tensor) -> Tensor:
        temporary = torch.empty_like(x)
        return torch.empty_like(temporary)


class Keeps(nn.Module):
    """Adds an inner module's output to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act = Allocates(), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.first(x) + x)


def test_a_calls_memory_is_its_allocations_their_peak_and_the_total_at_its_end() -> None:
    model, x = Keeps(), torch.zeros(ROW // 4)

    def call() -> Tensor:
        return model(x)

    with torch.inference_mode():
        root = trace(model, call)
        found = measure_memory(call, root, find("cpu"))
    assert {call.name: (each.alloc, each.peak, each.total) for call, each in found.items()} == {
        "": (ROW, 2 * ROW, ROW),
        "first": (ROW, 2 * ROW, ROW),
        "add": (ROW, ROW, 2 * ROW),
        "act": (0, 0, ROW),
    }


def test_calls_are_numbered_among_the_rows_and_among_all_calls() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 3))
    with torch.no_grad():
        study = Study(trace(model, lambda: model(torch.ones(1, 2))))
    assert [(call.name, call.index, call.order, call.depth) for call in study.calls()] == [
        ("", None, 0, 0),
        ("0", None, 1, 1),
        ("0.0", 0, 2, 2),
        ("0.1", 1, 3, 2),
        ("1", 2, 4, 1),
    ]


def test_records_and_rows_agree() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    with torch.enable_grad():
        study = Study(trace(model, lambda: model(torch.ones(4, 2))), training=True)
    model_call, linear, relu = study.calls()
    assert (model_call.kind, model_call.params, model_call.flops) == (Kind.CONTAINER, 9, None)
    assert (linear.flops, linear.params) == (4 * 3 * (2 * 2 - 1 + 1), 9)
    assert linear.backward is not None
    assert linear.backward > 0
    assert (linear.times, linear.mem_peak) == ([], None)
    for row, call in zip(study.rows(), (model_call, linear, relu), strict=True):
        for name in ("params", "flops", "macc", "mem_r", "mem_w", "backward"):
            assert getattr(row, name) == getattr(call, name)


class Solving(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.inv_ex(x)[0] + torch.linalg.inv_ex(x)[0]


def test_only_operators_without_a_rule_are_recorded_as_unknown() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Solving())
    with torch.no_grad():
        study = Study(trace(model, lambda: model(torch.eye(4))))
    assert {call.name: call.unknown for call in study.calls()} == {"": None, "0": None, "1": 2}
    assert [row.unknown for row in study.rows()] == [None, None, 2]


def test_weights_shared_by_two_names_count_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    with torch.no_grad():
        root, *_ = Study(trace(model, lambda: model(torch.ones(1, 4)))).rows()
    assert root.params == 16 + 4 + 4
