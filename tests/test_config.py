from __future__ import annotations

from typing import Any

import pytest

from microbench.config import ISOLATIONS, RULES, Config, ModelConfig, validate, value_of
from microbench.errors import UserError

# For each rule: values that no run could use, and values at the edge of what one can.
BAD_AND_GOOD: dict[str, tuple[list[Any], list[Any]]] = {
    "batch_size": ([0, -1], [1, 1024]),
    "threads": ([0, -2], [1, None]),
    "seed": ([-1], [0]),
    "timeout": ([0.0, -1.0, float("nan"), float("inf")], [0.5, None]),
    "model.input_count": ([0], [1]),
    "model.input_high": ([0], [1]),
    "model.num_classes": ([0], [1]),
    "model.input_shape": ([[0], [3, -1, 224]], [[1], []]),
    "optimizer.lr": ([-1e-9, float("nan")], [0.0]),
    "measure.rel_ci": ([0.0, 1.0, -0.1, float("nan")], [0.5, 1e-9]),
    "measure.min_time": ([-0.1], [0.0]),
    "measure.max_time": ([0.0, -1.0], [0.1]),
    "measure.min_samples": ([0], [1]),
    "measure.max_samples": ([0], [1]),
    "measure.min_sample": ([-1e-9], [0.0]),
    "measure.max_warmup": ([-0.1], [0.0]),
}


def config_with(key: str, value: Any) -> Config:
    """A usable configuration but for this value."""
    config = Config(model=ModelConfig(source="layer", cls="torch.nn.GELU", input_shape=[4]))
    config.optimizer.lr = 0.1
    *path, last = key.split(".")
    setattr(value_of(config, ".".join(path)) if path else config, last, value)
    return config


def test_every_rule_is_tested_here() -> None:
    assert set(BAD_AND_GOOD) == set(RULES)


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, (bad, _) in BAD_AND_GOOD.items() for value in bad]
)
def test_a_value_no_run_could_use_is_refused_in_one_line(key: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        validate(config_with(key, value))
    assert str(caught.value) == f"{key}={value} is not possible: give {RULES[key][1]}."
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, (_, good) in BAD_AND_GOOD.items() for value in good]
)
def test_a_value_at_the_edge_is_allowed(key: str, value: Any) -> None:
    validate(config_with(key, value))


@pytest.mark.parametrize("cls", [None, ""])
def test_a_layer_needs_a_class(cls: str | None) -> None:
    with pytest.raises(
        UserError, match=r"^model\.cls must be given, for example model\.cls=torch\.nn\.GELU\.$"
    ):
        validate(config_with("model.cls", cls))


def test_an_unknown_isolation_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^Unknown isolation 'forks'\. Did you mean fork\? Allowed: "):
        validate(config_with("isolation", "forks"))


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_every_isolation_is_allowed(isolation: str) -> None:
    validate(config_with("isolation", isolation))


def test_a_value_is_found_by_its_dotted_key() -> None:
    assert value_of(config_with("measure.rel_ci", 0.25), "measure.rel_ci") == 0.25
    assert value_of(config_with("seed", 7), "seed") == 7
