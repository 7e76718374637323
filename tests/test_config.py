from __future__ import annotations

from typing import Any

import pytest

from microbench.config import (
    OF_PROFILE,
    OPTIONS,
    PROFILE,
    Config,
    DeviceConfig,
    ModelConfig,
    option_at,
    plain,
    validate,
)
from microbench.errors import UserError
from microbench.schema import Bounds, Role, Rule, Scope, value_of, with_values

NAMES = {key: each.allowed for key, each in OPTIONS.items() if isinstance(each.allowed, dict)}
ENGINES = sorted({name for each in OPTIONS.values() for name in each.of.get("engine.name", ())})

# For each rule: values that no run could use, and values at the edge of what one can.
BAD_AND_GOOD: dict[str, tuple[list[Any], list[Any]]] = {
    "batch_size": ([0, -1], [1, 1024]),
    "threads": ([0, -2], [1, None]),
    "interop_threads": ([0, -1], [1, None]),
    "affinity": (
        ["comapct", "", "0,1", [], [-1], [0, -2], [1.0], ["0"], [True], {}, None],
        ["none", "compact", [0], [3, 1]],
    ),
    "env_set": ([{"": "1"}, {"a=b": "1"}, {"a": "\0"}], [{}, {"X": ""}]),
    "device.index": ([-1], [0, 7, None]),
    "seed": ([-1], [0]),
    "schedule_seed": ([-1], [0, None]),
    "tolerance": ([0.0, -1e-9, float("nan"), float("inf")], [1e-9, 2.0, None]),
    "precision.tolerance": ([0.0, -0.1], [1e-9]),
    "precision.gradient_tolerance": ([0.0, -0.1], [1e-9]),
    "experiment.budget": ([0.0, -1.0, float("inf")], [60.0]),
    "timeout": ([0.0, -1.0, float("nan"), float("inf")], [0.5, None]),
    "model.input_count": ([0], [1]),
    "model.input_high": ([0], [1]),
    "model.inputs": ([[], {}, 3, "x"], [[3], {"x": [3]}, [[3], {"shape": [3]}], None]),
    "model.num_classes": ([0], [1]),
    "model.input_shape": ([[0], [3, -1, 224]], [[1], []]),
    "model.seq_len": ([0, -1], [1]),
    "depth": ([-1], [0, 3, None]),
    "energy.multiply": ([-0.1, float("inf")], [0.0, 4.5, None]),
    "energy.on_chip": ([-0.1], [0.0]),
    "energy.dram": ([-1.0, float("nan")], [0.0]),
    "energy.hit_rate": ([-0.1, 1.1, float("nan")], [0.0, 1.0]),
    "optimizer.lr": ([-1e-9, float("nan")], [0.0]),
    "measure.budget": ([0.0, -1.0, float("nan"), float("inf")], [1e-3, None]),
    "measure.rounds": ([0, -1], [1, 10]),
    "measure.rel_ci": ([0.0, 1.0, -0.1, float("nan")], [0.5, 1e-9]),
    "measure.percentile": ([0.0, 100.0, -1.0, 101.0, float("nan")], [1e-9, 50.0, 99.9, None]),
    "measure.min_time": ([-0.1], [0.0]),
    "measure.max_time": ([0.0, -1.0], [0.1]),
    "measure.min_samples": ([0], [1]),
    "measure.max_samples": ([0], [1]),
    "measure.min_sample": ([-1e-9], [0.0]),
    "measure.max_warmup": ([-0.1], [0.0]),
}


def mode_with(key: str) -> str:
    """Return a mode that has the option at a key."""
    if key == "mode.each":
        return "layers"
    return PROFILE if OPTIONS[key].of.items() >= OF_PROFILE.items() else "infer"


def config_with(key: str, value: Any) -> Config:
    """Return a configuration that is valid except for this value."""
    source = str(OPTIONS[key].of.get("model.source", ["layer"])[0])
    config = Config(model=ModelConfig(source, cls="torch.nn.GELU", input_shape=[4]))
    if key == "model.inputs":
        config.model.source = "own"
    config.optimizer.lr = 0.1
    config.mode.name = mode_with(key)
    config.device.name = str(OPTIONS[key].of.get("device.name", ["cpu"])[0])
    if key == "depth":
        config.view = "tree"
    found: Config = with_values(config, {key: value})
    return found


def test_every_rule_is_tested_here() -> None:
    ruled = {key for key, each in OPTIONS.items() if isinstance(each.allowed, (Bounds, Rule))}
    assert set(BAD_AND_GOOD) == ruled


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, (bad, _) in BAD_AND_GOOD.items() for value in bad]
)
def test_a_value_no_run_could_use_is_refused_in_one_line(key: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        validate(config_with(key, value))
    assert str(caught.value) == f"{key}={value} is not possible: give {OPTIONS[key].what_is_allowed}."
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


@pytest.mark.parametrize(
    ("key", "wrong", "near"),
    [
        ("isolation", "forks", "fork"),
        ("schedule", "interleave", "interleaved"),
        ("allocator", "jmalloc", "jemalloc"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_and_all_that_are_allowed(
    key: str, wrong: str, near: str
) -> None:
    with pytest.raises(UserError) as caught:
        validate(config_with(key, wrong))
    told = str(caught.value)
    assert told.startswith(f"Unknown {key} {wrong!r}. Did you mean {near}")
    assert told.endswith(f"Allowed: {', '.join(sorted(NAMES[key]))}.")


# For each option of a profile: a value that is not its default.
OF_A_PROFILE: dict[str, Any] = {
    "mode.training": True,
    "view": "types",
    "columns": ["name"],
    "depth": 2,
    "functions": False,
    "timing": False,
    "memory": False,
    "trace": True,
    "energy.multiply": 1.0,
    "energy.on_chip": 1.0,
    "energy.dram": 1.0,
    "energy.hit_rate": 0.5,
}


def test_every_option_of_a_profile_is_tested_here() -> None:
    assert set(OF_A_PROFILE) == {key for key, each in OPTIONS.items() if "mode.name" in each.of} - {
        "mode.each",
        "mode.grad",
    }


@pytest.mark.parametrize(("key", "value"), OF_A_PROFILE.items())
def test_a_profile_takes_its_options_and_other_modes_refuse_them(key: str, value: Any) -> None:
    config = config_with(key, value)
    validate(config)
    config.mode.name = "train"
    config.view = "types" if key == "view" else "calls"
    with pytest.raises(UserError, match=rf"^{key}=\S+ is an option of mode=profile; mode=train does not"):
        validate(config)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"depth": 1}, "depth=1 is an option of view=tree; view=calls does not have it."),
        (
            {"device.name": "cpu", "device.deterministic": True},
            "device.deterministic=true is an option of device=cuda; device=cpu does not have it.",
        ),
        (
            {"device.name": "cpu", "device.cudnn_benchmark": True},
            "device.cudnn_benchmark=true is an option of device=cuda; device=cpu does not have it.",
        ),
        ({"mode.grad": True}, "mode.grad=true is an option of mode=infer; mode=profile does not have it."),
        (
            {"mode.name": "infer", "columns": ["p99"]},
            "columns=[p99] is an option of mode=profile; mode=infer does not have it: --tails shows the "
            "percentiles of its phases.",
        ),
        (
            {"measure.percentile": 99.9},
            "measure.percentile=99.9 is for samples of one call, and those of mode=profile are of several; "
            "to measure a layer alone, give model.part=NAME mode=infer.",
        ),
        (
            {"trace": True, "timing": False},
            "trace=true needs timing=true: a dry run executes nothing that could be traced.",
        ),
    ],
)
def test_options_of_a_profile_that_would_do_nothing_are_refused(given: dict[str, Any], told: str) -> None:
    config = with_values(config_with("view", "calls"), given)
    with pytest.raises(UserError) as caught:
        validate(config)
    assert str(caught.value) == told


def test_a_search_is_not_for_profiles() -> None:
    config = config_with("view", "calls")
    config.experiment.search = True
    with pytest.raises(UserError, match=r"^A search compares configurations by one time, and mode=profile"):
        validate(config)


def engine_with(key: str) -> str:
    """Return an engine that has the option at a key; eager, which has none, for any other key."""
    return str(OPTIONS[key].of.get("engine.name", ["eager"])[0])


@pytest.mark.parametrize(("key", "name"), [(key, name) for key, names in NAMES.items() for name in names])
def test_every_name_is_allowed(key: str, name: str) -> None:
    config = config_with(key, name)
    config.engine.name = engine_with(key)
    config.measure.rounds = 1
    config.experiment.search = key == "objective"
    validate(config)


def test_an_objective_is_that_of_a_search() -> None:
    with pytest.raises(UserError, match=r"^objective=p99 is an option of experiment\.search=true; "):
        validate(config_with("objective", "p99"))


# For each option of an engine, another value than the default.
OTHER = {
    "freeze": True,
    "optimize": True,
    "backend": "eager",
    "mode": "max-autotune",
    "freezing": True,
    "dynamic": False,
    "cpp_wrapper": True,
    "cache": "cold",
    "level": "basic",
    "copies": True,
}


def test_every_option_of_an_engine_belongs_to_one() -> None:
    declared = {key for key in OPTIONS if key.startswith("engine.")} - {"engine.name"}
    assert {key for key, each in OPTIONS.items() if "engine.name" in each.of} == declared
    assert {f"engine.{name}" for name in OTHER} == declared


@pytest.mark.parametrize(("option", "value"), OTHER.items())
def test_an_engine_takes_its_own_options_and_refuses_those_of_others(option: str, value: Any) -> None:
    for engine in (*ENGINES, "eager"):
        config = config_with(f"engine.{option}", value)
        config.engine.name = engine
        if engine in OPTIONS[f"engine.{option}"].of["engine.name"]:
            validate(config)
        else:
            with pytest.raises(UserError, match=rf"^engine\.{option}=\S+ is an option of engine=") as caught:
                validate(config)
            assert str(caught.value).endswith(f"; engine={engine} does not have it.")


@pytest.mark.parametrize("layout", sorted({*NAMES["layout"]} - {"mkldnn"}))
def test_only_the_layout_of_onednn_caches_weights(layout: str) -> None:
    config = config_with("cache_weights", False)
    config.layout = "mkldnn"
    validate(config)
    config.layout = layout
    with pytest.raises(UserError, match=rf"option of layout=mkldnn; layout={layout} does not have it\.$"):
        validate(config)


@pytest.mark.parametrize("rounds", [2, 6])
def test_several_rounds_want_processes_which_this_one_alone_is_not(rounds: int) -> None:
    config = config_with("isolation", "inline")
    config.measure.rounds = rounds
    with pytest.raises(UserError) as caught:
        validate(config)
    assert str(caught.value) == f"isolation=inline runs in one process; set measure.rounds=1 (got {rounds})."


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
def test_processes_may_have_several_rounds(isolation: str) -> None:
    config = config_with("isolation", isolation)
    config.measure.rounds = 6
    validate(config)


@pytest.mark.parametrize("key", OPTIONS)
def test_every_option_says_what_it_is(key: str) -> None:
    each = OPTIONS[key]
    assert each.help
    assert each.help[0] not in " .:"
    assert not each.help.endswith(".")
    assert each.what_is_allowed not in ("", "a value")
    assert isinstance(each.role, Role)
    for other, names in each.of.items():
        assert names
        assert other in OPTIONS
    if not isinstance(each.allowed, Rule) and each.default != "???":
        each.check(each.default)
    if each.takes_null:
        assert each.null or each.default is None


def test_what_is_of_the_run_is_no_work() -> None:
    assert not any(each.is_work for each in OPTIONS.values() if each.scope is not Scope.ROUND)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("engine", "engine.name"),
        ("engine.mode", "engine.mode"),
        ("part", "model.part"),
        ("cold_cache", "measure.cold_cache"),
        ("env_set.X", "env_set"),
        ("model.kwargs.stride.x", "model.kwargs"),
    ],
)
def test_an_option_is_found_by_its_axis_its_key_or_a_key_within_it(name: str, key: str) -> None:
    assert option_at(name).key == key


def test_no_option_is_found_by_another_name() -> None:
    with pytest.raises(KeyError):
        option_at("colour")


def test_plain_eager_is_the_same_work_run_by_the_reference_engine() -> None:
    config = config_with("layout", "mkldnn")
    config.engine.name, config.engine.cache, config.precision.name = "compile", "cold", "bf16"
    config.cache_weights, config.device.mkldnn, config.threads = False, False, 3
    found = plain(config)
    assert (found.engine.name, found.engine.cache, found.precision.name) == ("eager", "warm", "fp32")
    assert (found.layout, found.cache_weights, found.device.mkldnn) == ("contiguous", True, True)
    assert (found.threads, found.model) == (3, config.model)


def test_a_value_is_found_by_its_dotted_key() -> None:
    assert value_of(config_with("measure.rel_ci", 0.25), "measure.rel_ci") == 0.25
    assert value_of(config_with("seed", 7), "seed") == 7


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {"device.sync": "step"},
            "device.sync=step is not for mode=profile, which times calls by events: to ",
        ),
        ({"device.cuda_graph": True}, "device.cuda_graph=true is not possible in mode=profile: "),
    ],
)
def test_a_profile_is_by_events_and_not_of_graphs(values: dict[str, Any], told: str) -> None:
    config = with_values(config_with("view", "calls"), {"device.name": "cuda"} | values)
    with pytest.raises(UserError) as caught:
        validate(config)
    assert str(caught.value).startswith(told)


def test_a_graph_of_inference_is_refused_with_autograd() -> None:
    config = with_values(config_with("device.cuda_graph", True), {"device.name": "cuda"})
    validate(config)
    config.mode.grad = True
    with pytest.raises(UserError) as caught:
        validate(config)
    assert str(caught.value) == (
        "mode.grad=true is not possible with device.cuda_graph=true: a graph of inference is captured "
        "without autograd; leave out one of them."
    )


def test_the_reference_is_timed_as_the_case_and_is_no_graph() -> None:
    config = config_with("device.sync", "step")
    config.device.cuda_graph = config.device.mkldnn = True
    assert plain(config).device == DeviceConfig("cuda", sync="step")
