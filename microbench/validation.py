"""Which values a case may have, and which of them go together."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from typing import Any

from microbench.config import (
    AFFINITIES,
    ALLOCATORS,
    CACHES,
    COMPILE_MODES,
    EACH,
    ISOLATIONS,
    LAYOUTS,
    LEVELS,
    OPTIONS_OF,
    OPTIONS_OF_PROFILE,
    PROFILE,
    SCHEDULES,
    VIEWS,
    Config,
    EngineConfig,
    ModeConfig,
    value_of,
)
from microbench.errors import UserError, unknown


def _positive(value: float) -> bool:
    return 0 < value < math.inf


def _not_negative(value: float) -> bool:
    return 0 <= value < math.inf


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _at_least_one(value: int) -> bool:
    return value >= 1


def _is_affinity(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(type(cpu) is int and cpu >= 0 for cpu in value)
    return value in AFFINITIES


def _are_variables(variables: dict[str, str]) -> bool:
    return all(name and "=" not in name and "\0" not in name + value for name, value in variables.items())


RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "batch_size": (_at_least_one, "an integer of at least 1"),
    "threads": (_at_least_one, "an integer of at least 1, or null for the physical cores"),
    "interop_threads": (_at_least_one, "an integer of at least 1, or null for torch's default"),
    "affinity": (_is_affinity, "none, compact, or a list of CPUs such as [0,1]"),
    "env_set": (_are_variables, "names of environment variables with their values"),
    "seed": (_not_negative, "an integer of at least 0"),
    "schedule_seed": (_not_negative, "an integer of at least 0, or null to draw one"),
    "tolerance": (_positive, "a share above 0 (0.01 is 1 %), or null for the precision's own"),
    "precision.tolerance": (_positive, "a share above 0 (0.01 is 1 %)"),
    "precision.gradient_tolerance": (_positive, "a share above 0 (0.01 is 1 %)"),
    "experiment.budget": (_positive, "a number of seconds above 0"),
    "timeout": (_positive, "a number of seconds above 0, or null for none"),
    "model.input_count": (_at_least_one, "an integer of at least 1"),
    "model.input_high": (_at_least_one, "an integer of at least 1"),
    "model.num_classes": (_at_least_one, "an integer of at least 1"),
    "model.input_shape": (lambda shape: all(size >= 1 for size in shape), "a list of sizes of at least 1"),
    "depth": (_is_count, "an integer of at least 0, or null for the whole tree"),
    "energy.multiply": (_not_negative, "a number of pJ of at least 0, or null for the number format's own"),
    "energy.on_chip": (_not_negative, "a number of pJ of at least 0"),
    "energy.dram": (_not_negative, "a number of pJ of at least 0"),
    "energy.hit_rate": (lambda share: 0 <= share <= 1, "a share from 0 to 1"),
    "optimizer.lr": (_not_negative, "a number of at least 0"),
    "measure.rounds": (_at_least_one, "an integer of at least 1"),
    "measure.rel_ci": (lambda share: 0 < share < 1, "a share between 0 and 1, both excluded (0.01 is 1 %)"),
    "measure.min_time": (_not_negative, "a number of seconds of at least 0"),
    "measure.max_time": (_positive, "a number of seconds above 0"),
    "measure.min_samples": (_at_least_one, "an integer of at least 1"),
    "measure.max_samples": (_at_least_one, "an integer of at least 1"),
    "measure.min_sample": (_not_negative, "a number of seconds of at least 0"),
    "measure.max_warmup": (_not_negative, "a number of seconds of at least 0"),
}


DEFAULTS = Config()

NAMES = {
    "isolation": ISOLATIONS,
    "schedule": SCHEDULES,
    "allocator": ALLOCATORS,
    "layout": LAYOUTS,
    "engine.mode": COMPILE_MODES,
    "engine.cache": CACHES,
    "engine.level": LEVELS,
    "mode.each": EACH,
    "view": VIEWS,
}


def validate(config: Config) -> None:
    """Refuse what no run could use.

    Raises:
        UserError: the first such value, and what is allowed instead.
    """
    for key in RULES:
        value = value_of(config, key)
        if value is not None or key == "affinity":  # its type lets null through
            check_value(key, value)
    if config.model.source == "layer" and not config.model.cls:
        raise UserError("model.cls must be given, for example model.cls=torch.nn.GELU.")
    for key in NAMES:
        check_name(key, value_of(config, key))
    _check_options(config.engine)
    _check_layers(config)
    _check_profile(config)
    check_depth(config.depth, config.view)
    if not config.cache_weights and config.layout != "mkldnn":
        raise UserError(
            f"cache_weights=false is an option of layout=mkldnn: layout={config.layout} has none."
        )
    if config.isolation == "inline" and config.env_set:
        raise UserError(
            f"isolation=inline runs in this process: set {next(iter(config.env_set))} in the shell "
            "instead of by env_set"
        )
    if config.isolation == "inline" and config.measure.rounds > 1:
        raise UserError(
            f"isolation=inline runs in one process: set measure.rounds=1 (got {config.measure.rounds})"
        )


def check_value(key: str, value: Any) -> None:
    """Refuse a value that `RULES` does not allow for an option.

    Raises:
        UserError: it is one, and what is allowed instead.
    """
    holds, allowed = RULES[key]
    with suppress(TypeError, ValueError, RuntimeError):  # from Python, any object may come
        if not isinstance(value, bool) and holds(value):
            return
    raise UserError(f"{key}={value} is not possible: give {allowed}.")


def check_name(key: str, value: Any) -> None:
    """Refuse a value that is none of an option's `NAMES`.

    Raises:
        UserError: it is none, and the nearest of them.
    """
    if not isinstance(value, str) or value not in NAMES[key]:
        raise unknown(key, str(value), NAMES[key])


def check_depth(depth: int | None, view: str) -> None:
    """Refuse a depth of a view that has none.

    Raises:
        UserError: it is one.
    """
    if depth is not None and view != "tree":
        raise UserError(f"depth={depth} is an option of view=tree: view={view} has no depth.")


def _check_layers(config: Config) -> None:
    """Refuse what makes no sense with `mode=layers`, or without it."""
    if config.mode.name != "layers":
        if config.mode.each != ModeConfig.each:
            raise UserError(
                f"mode.each={config.mode.each} is an option of mode=layers: mode={config.mode.name} has none "
                "of that name."
            )
    elif config.model.part is not None:
        raise UserError(
            f"mode=layers takes the whole model apart: leave out model.part={config.model.part}, or give "
            f"mode={config.mode.each} to measure it alone."
        )
    elif config.experiment.search:
        raise UserError("A search is for one work, and mode=layers has many: give mode=train or mode=infer.")


def _check_profile(config: Config) -> None:
    """Refuse an option of `mode=profile` with another mode, or with what leaves it nothing to do."""
    if config.mode.name != PROFILE:
        for key in OPTIONS_OF_PROFILE:
            if (value := value_of(config, key)) != value_of(DEFAULTS, key):
                raise UserError(
                    f"{key}={_spelled(value)} is an option of mode=profile: mode={config.mode.name} has none "
                    "of that name."
                )
    elif config.experiment.search:
        raise UserError(
            "A search compares ways by their time alone, and mode=profile tells more: give mode=infer."
        )
    elif config.measure.cold_cache:
        raise UserError(
            "measure.cold_cache=true evicts the caches before a sample, and one of mode=profile is several "
            "calls: measure a layer alone, with model.part=NAME mode=infer."
        )
    elif config.trace and not config.timing:
        raise UserError("trace=true traces a call, which timing=false leaves out.")


def _spelled(value: Any) -> str:
    """A value as it is given on a command line."""
    return f"[{','.join(value)}]" if isinstance(value, list) else str(value).lower()


def _check_options(engine: EngineConfig) -> None:
    """Refuse an option that the engine does not have: it would do nothing."""
    for option in fields(EngineConfig):
        value = getattr(engine, option.name)
        if option.name == "name" or value == option.default or option.name in OPTIONS_OF.get(engine.name, ()):
            continue
        owners = " and ".join(
            f"engine={name}" for name, options in OPTIONS_OF.items() if option.name in options
        )
        raise UserError(
            f"engine.{option.name}={str(value).lower()} is an option of {owners}: engine={engine.name} has "
            "none of that name."
        )
