"""A declared option appears in help, is checked, hashed, ranked and recorded without other changes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ValidationError

from microbench.cli.list import explained, markdown
from microbench.config import Config, EngineConfig
from microbench.errors import UserError
from microbench.run.case import Case
from microbench.schema import (
    ANY,
    Bounds,
    Role,
    Scope,
    axes_in,
    axes_of,
    check,
    group,
    groups_of,
    keys_of,
    option,
    options_of,
    value_of,
    with_values,
    work_of,
)


@dataclass
class WiderEngine(EngineConfig):
    """The engine's options with one of one engine that does not exist yet."""

    unroll: int = option(
        1,
        "how often loops are unrolled",
        role=Role.CONFIGURATION,
        at_least=1,
        of={"engine.name": ("compile",)},
    )


@dataclass
class Wider(Config):
    """The schema with options that do not exist yet."""

    engine: EngineConfig = group(WiderEngine, "how it is executed")
    numa: str = option(
        "any",
        "memory to use",
        {"any": "", "local": "of the CPU's own node"},
        role=Role.CONFIGURATION,
        axis="numa",
        after="threads",
    )
    glow: float | None = option(
        None, "how long it glows", role=Role.PRESENTATION, above=0, unit="seconds", null="no end"
    )


def wider(**values: Any) -> Any:
    usable = {"model.input_shape": [3], "optimizer.lr": 0.1, "engine.name": "compile", "mode.name": "infer"}
    return with_values(Wider(), usable | {key.replace("__", "."): value for key, value in values.items()})


def test_a_new_option_is_in_the_help_and_in_the_table() -> None:
    lines = {key: (default, meaning) for key, default, meaning in explained(Wider)}
    assert lines["numa"] == ("any", "memory to use: any, local (of the CPU's own node)")
    assert lines["glow"] == ("null", "how long it glows, in seconds; null: no end")
    assert lines["engine.unroll"] == ("1", "compile: how often loops are unrolled")
    assert markdown(Wider).splitlines()[-1] == (
        "| `glow` | `null` | how long it glows "
        "| a number of seconds above 0, or null for no end | presentation |  |"
    )


def test_the_page_of_options_has_the_table() -> None:
    page = Path(__file__).parents[1] / "docs" / "options.md"
    assert markdown() in page.read_text("utf-8"), "write it anew: print(microbench.cli.list.markdown())"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"numa": "locl"}, "Unknown numa 'locl'. Did you mean local? Allowed: any, local."),
        ({"glow": 0.0}, "glow=0.0 is not possible: give a number of seconds above 0, or null for no end."),
        ({"engine__unroll": 0}, "engine.unroll=0 is not possible: give an integer of at least 1."),
        (
            {"engine__unroll": 2, "engine__name": "eager"},
            "engine.unroll=2 is an option of engine=compile; engine=eager does not have it.",
        ),
    ],
)
def test_a_new_option_is_checked(values: dict[str, Any], told: str) -> None:
    check(wider())
    with pytest.raises(UserError) as caught:
        check(wider(**values))
    assert str(caught.value) == told


def test_a_new_option_leaves_old_ids_alone_and_makes_new_ones() -> None:
    old = with_values(Config(), {"engine.name": "compile", "model.input_shape": [3], "mode.name": "infer"})
    old.optimizer.lr = 0.1
    assert Case(wider()).id == Case(wider(glow=1.0)).id == Case(old).id
    assert len({Case(each).id for each in (old, wider(numa="local"), wider(engine__unroll=2))}) == 3


def test_a_new_option_is_an_axis_of_records_where_it_says_so() -> None:
    names = list(axes_in(Wider))
    assert names[names.index("threads") + 1] == "numa"
    assert [name for name in names if name != "numa"] == list(axes_in(Config))
    assert axes_of(wider(numa="local"))["numa"] == "local"


def test_omegaconf_reads_the_schema() -> None:
    config = OmegaConf.structured(Wider)
    assert config.engine.unroll == 1
    with pytest.raises(ValidationError):
        config.batch_size = "many"


def test_every_field_is_an_option_or_a_group_at_every_depth() -> None:
    inner = sum(len(fields(type(value_of(Config(), name)))) for name in groups_of(Config))
    assert len(keys_of(Config)) == len(fields(Config)) + inner
    assert len(options_of(Config)) == len(keys_of(Config)) - len(groups_of(Config))
    assert all(each["group"] for each in groups_of(Config).values())


def test_what_is_allowed_must_be_said() -> None:
    with pytest.raises(ValueError, match="say which values are allowed"):
        option(1, "a number", role=Role.WORK)
    assert option(1, "a number", ANY, role=Role.WORK).metadata["option"].allowed is ANY


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        (Bounds(at_least=1), [1, 1e300], [0.99, float("inf"), float("nan")]),
        (Bounds(above=0), [1e-300], [0, -1]),
        (Bounds(at_least=0, at_most=1), [0, 1], [-0.1, 1.1]),
        (Bounds(above=0, below=1), [0.5], [0, 1]),
    ],
)
def test_bounds_hold(bounds: Bounds, inside: list[float], outside: list[float]) -> None:
    assert all(map(bounds.holds, inside))
    assert not any(map(bounds.holds, outside))


def test_values_change_in_a_copy() -> None:
    config = Config()
    other = with_values(config, {"measure.rounds": 2, "seed": 3})
    assert (other.measure.rounds, other.seed) == (2, 3)
    assert (config.measure.rounds, config.seed) == (None, 0)


def test_the_work_is_what_differs_from_the_defaults() -> None:
    given = {
        "measure.cold_cache": True,
        "measure.rounds": 2,
        "engine.name": "eager",
        "view": "tree",
        "seed": 1,
    }
    assert work_of(with_values(Config(), given)) == {
        "cold_cache": True,
        "engine": {"name": "eager"},
        "seed": 1,
    }


def test_a_name_is_no_work_where_something_else_says_what_is_computed() -> None:
    assert work_of(with_values(Config(), {"model.name": "mine"})) == {"model": {"name": "mine"}}
    given = {"model.name": "mine", "model.identity": "a0"}
    assert work_of(with_values(Config(), given)) == {"model": {"identity": "a0"}}


def test_scopes_are_distinguished() -> None:
    found = options_of(Config)
    of_case = {"measure.budget", "measure.rounds", "timeout"}
    assert {key for key, each in found.items() if each.scope is Scope.CASE} == of_case


def test_what_needs_a_value_that_the_machine_decides_is_left_for_later() -> None:
    check(wider(device__name="auto", device__sync="step"))
    check(wider(device__name="cuda", device__sync="step"))
    with pytest.raises(UserError) as caught:
        check(wider(device__name="cpu", device__sync="step"))
    assert str(caught.value) == ("device.sync=step is an option of device=cuda; device=cpu does not have it.")
