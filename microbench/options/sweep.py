"""The axes of a sweep, from the command line and from a preset, and the cases that they span."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import OverrideParseException

from microbench.config import OPTIONS, PLAIN
from microbench.errors import UserError

PRESET = "experiment"
"""The group of presets."""

BATCH = "batch_size"

DICTIONARIES = (key for key, each in OPTIONS.items() if each.is_dictionary)
FREE = re.compile(
    rf"({'|'.join(map(re.escape, (*DICTIONARIES, 'hydra.job.env_set', 'hydra.sweeper.params')))})(?=[.=]|$)"
)
"""Keys of dictionaries with arbitrary contents. An override merges into one; it does not replace it."""

Axes = Mapping[str, Sequence[str]]
"""For each option's key, the overrides to choose from, in the order in which they are applied.

An override that merges with earlier ones of its key has a separate entry.
"""

Way = Mapping[str, str]
"""A configuration: for each option's key, its override."""


@dataclass(frozen=True)
class Preset:
    """A preset's sweep.

    Attributes:
        params: the axes, from `hydra.sweeper.params`.
        ways: configurations that are not a product of axes, from `experiment.ways`.
        sweeps: whether it is a sweep without -m.
        searches: whether it searches for the fastest configuration.
        finds_batch: whether such a search may have several batch sizes to choose from.
    """

    params: Mapping[str, str]
    ways: Sequence[Sequence[str]]
    sweeps: bool = False
    searches: bool = False
    finds_batch: bool = False


NO_PRESET = Preset({}, ())


def axes_of(overrides: Iterable[str]) -> dict[str, list[str]]:
    """Return the axes of overrides in Hydra's sweep grammar: `a,b`, `range`, `glob`, or one value.

    The last of several overrides of a key wins; those of a dictionary merge.

    Raises:
        UserError: an override names no values, a pattern matches none, or a key is swept over twice.
        OverrideParseException: one is not an override.
    """
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    axes: dict[str, list[str]] = {}
    swept: dict[str, str] = {}
    for override in parser.parse_overrides(list(overrides)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            values = [str(override.input_line)]
        elif override.is_discrete_sweep():
            values = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise UserError(f"{override.input_line} names no values to sweep over: write {key}=a,b.")
        if override.is_hydra_override() and len(values) > 1:
            raise UserError(f"{override.input_line} cannot be swept over: it is Hydra's own.")
        if not values:
            raise UserError(f"{override.input_line} matches nothing: see `microbench list`.")
        name = key.lstrip("+")
        if len(values) > 1:
            if name in swept:
                raise UserError(f"{name} is swept over twice: {swept[name]} and {override.input_line}.")
            swept[name] = str(override.input_line)
        if _merges(override):
            name = f"{name} #{len(axes)}" if name in axes or not FREE.match(name) else name
        else:
            axes = {each: axes[each] for each in axes if not _is_replaced(each, name)}
        axes[name] = values
    return axes


def _is_replaced(axis: str, key: str) -> bool:
    """Return whether a value of a key replaces an axis: its own, or one that merged into it."""
    return axis == key or bool(FREE.match(key) and axis.lstrip("~").startswith(f"{key} #"))


def _merges(override: Override) -> bool:
    """Return whether an override adds to or removes from earlier ones instead of replacing them."""
    given = override.value()
    values = given.list if isinstance(given, ChoiceSweep) else [given]
    return override.is_delete() or any(isinstance(value, dict) for value in values)


def combined(given: Axes, preset: Preset = NO_PRESET) -> list[tuple[str, ...]]:
    """Return the overrides of each case: the product of the axes with the preset's configurations.

    Given axes replace the preset's axes of the same key, and so do the preset's configurations.

    A search always has plain eager before all configurations.

    Raises:
        UserError: the preset's axes or configurations are not overrides, or a search has several works.
    """
    ways = _left(given, [way for each in preset.ways for way in _alternatives(each)])
    params = _read([f"{key}={value}" for key, value in preset.params.items()], "hydra.sweeper.params")
    keys = {key for way in ways for key in way}
    axes = {key: values for key, values in (params | dict(given)).items() if key not in keys}
    front = {key: axes.pop(key) for key in (PRESET,) if key in axes}
    if preset.searches:
        return _searched(front | axes, ways, preset.finds_batch)
    tasks = list(product(*(front | axes).values()))
    return [(*task, *way.values()) for task in tasks for way in ways or [{}]]


def _searched(axes: Axes, ways: Sequence[Way], finds_batch: bool) -> list[tuple[str, ...]]:
    """Return the overrides of plain eager, and of each configuration to compare with it.

    If it is to find a batch size, all come again with each other one: first is the one in the middle, then
    those next to it.

    Raises:
        UserError: an axis that is in no configuration has several values.
    """
    plain = {key: f"{key}={str(value).lower()}" for key, value in PLAIN.items()}
    fixed = {key: values for key, values in axes.items() if key not in plain}
    batches = fixed.pop(BATCH, []) if finds_batch and len(fixed.get(BATCH, ())) > 1 else []
    several = next((key for key, values in fixed.items() if len(values) > 1), None)
    if several is not None:
        remedy = ", or objective=throughput to find the best one" if several == BATCH else ""
        raise UserError(f"A search is for one work: give one {several}, not {len(fixed[several])}{remedy}.")
    work = [values[0] for values in fixed.values()]
    tried = list(product(*(values for key, values in axes.items() if key in plain)))
    tasks = [
        (*work, *plain.values()),
        *((*work, *each, *way.values()) for each in tried for way in ways or [{}]),
    ]
    return [(batch, *task) for batch in _from_the_middle(batches) for task in tasks] or tasks


def _from_the_middle(batches: Sequence[str]) -> list[str]:
    """Return the overrides of batch sizes, the middle one first, then those closest to it in the order."""
    sizes = {each: each.partition("=")[2] for each in batches}
    ordered = sorted(sizes, key=lambda each: int(sizes[each]) if sizes[each].isdigit() else 0)
    middle = len(ordered) // 2
    return sorted(ordered, key=lambda each: (abs(ordered.index(each) - middle), -ordered.index(each)))


def _alternatives(way: Sequence[str]) -> list[Way]:
    """Return the configurations that one with lists of values expands to."""
    axes = _read(way, "experiment.ways")
    if not axes or PRESET in axes:
        what = f"names another preset, {axes[PRESET][0]}" if axes else "is empty"
        raise UserError(
            f"experiment.ways: a configuration {what}: name what it sets, such as layout=contiguous."
        )
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def _left(given: Axes, ways: Sequence[Way]) -> list[Way]:
    """Return the configurations that agree with the given options.

    None if a given option is in no configuration, and none if all options of a configuration are given: then
    there is nothing left to choose, so that the options of one case lead to that case alone.
    """
    wanted = {key: {_value(each) for each in given[key]} for way in ways for key in way if key in given}
    left = [
        way
        for way in ways
        if all(key in way and _value(way[key]) in values for key, values in wanted.items())
    ]
    for key, values in wanted.items():
        if {_value(way[key]) for way in left} != values:
            return []
    is_one = all(len(values) == 1 for values in wanted.values())
    return [] if is_one and any(way.keys() == wanted.keys() for way in left) else left


def _value(override: str) -> str:
    """Return an override's value as Hydra reads it: `True` is `true`."""
    return repr(OverridesParser.create().parse_override(override).value())


def _read(overrides: Sequence[str], where: str) -> dict[str, list[str]]:
    """Return the axes of a part of a preset; errors name the part."""
    try:
        return axes_of(overrides)
    except OverrideParseException as error:
        raise UserError(f"{where}: cannot read {error.override!r}: write key=value.") from error
