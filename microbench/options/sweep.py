"""The axes of a sweep, and the cases that they span: those of the command line, and those of a preset."""

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
"""The group of options that presets are in."""

DICTIONARIES = (key for key, each in OPTIONS.items() if each.is_dictionary)
FREE = re.compile(
    rf"({'|'.join(map(re.escape, (*DICTIONARIES, 'hydra.job.env_set', 'hydra.sweeper.params')))})(?=[.=]|$)"
)
"""The keys of dictionaries that may hold anything. An override merges into one; it does not replace it."""

Axes = Mapping[str, Sequence[str]]
"""By an option's key, the overrides to choose one from, in the order in which they are applied.

An override that merges with earlier ones of its key has a place of its own beside theirs.
"""

Way = Mapping[str, str]
"""By an option's key, the override of an alternative."""


@dataclass(frozen=True)
class Preset:
    """What a preset sweeps over.

    Attributes:
        params: the axes, as `hydra.sweeper.params` has them.
        ways: alternatives that are no product, as `experiment.ways` has them.
        sweeps: it is a sweep without -m.
        searches: it is a search for the fastest of its ways.
    """

    params: Mapping[str, str]
    ways: Sequence[Sequence[str]]
    sweeps: bool = False
    searches: bool = False


NO_PRESET = Preset({}, ())


def axes_of(overrides: Iterable[str]) -> dict[str, list[str]]:
    """The axes that overrides name in Hydra's sweep grammar: `a,b`, `range`, `glob`, or one value.

    Of several overrides of a key the last wins; those of a dictionary merge.

    Raises:
        UserError: an override names no values, a pattern matches none, or a key is swept over twice.
        OverrideParseException: it is no override.
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
    """Whether a value of a key leaves nothing of an axis: of one of its own, nor of what merged into that."""
    return axis == key or bool(FREE.match(key) and axis.lstrip("~").startswith(f"{key} #"))


def _merges(override: Override) -> bool:
    """Whether an override adds to or takes from what earlier ones of its key set, instead of replacing it."""
    given = override.value()
    values = given.list if isinstance(given, ChoiceSweep) else [given]
    return override.is_delete() or any(isinstance(value, dict) for value in values)


def combined(given: Axes, preset: Preset = NO_PRESET) -> list[tuple[str, ...]]:
    """The overrides of each case: the product of the axes with the preset's ways.

    What is given replaces an axis of the preset that has its key; the ways replace one that has the key of
    any of them.

    A search has plain eager before all ways, whatever is given.

    Raises:
        UserError: the preset's axes or ways are no overrides, or a search is for several works.
    """
    ways = _left(given, [way for each in preset.ways for way in _alternatives(each)])
    params = _read([f"{key}={value}" for key, value in preset.params.items()], "hydra.sweeper.params")
    keys = {key for way in ways for key in way}
    axes = {key: values for key, values in (params | dict(given)).items() if key not in keys}
    front = {key: axes.pop(key) for key in (PRESET,) if key in axes}
    if preset.searches:
        return _searched(front | axes, ways)
    tasks = list(product(*(front | axes).values()))
    return [(*task, *way.values()) for task in tasks for way in ways or [{}]]


def _searched(axes: Axes, ways: Sequence[Way]) -> list[tuple[str, ...]]:
    """The overrides of plain eager, and of each way to compare with it.

    Raises:
        UserError: an axis that no way has has several values.
    """
    plain = {key: f"{key}={str(value).lower()}" for key, value in PLAIN.items()}
    several = next((key for key, values in axes.items() if len(values) > 1 and key not in plain), None)
    if several is not None:
        raise UserError(f"A search is for one work: give one {several}, not {len(axes[several])}.")
    work = [values[0] for key, values in axes.items() if key not in plain]
    tried = list(product(*(values for key, values in axes.items() if key in plain)))
    return [
        (*work, *plain.values()),
        *((*work, *each, *way.values()) for each in tried for way in ways or [{}]),
    ]


def _alternatives(way: Sequence[str]) -> list[Way]:
    """The ways that one with lists of values stands for."""
    axes = _read(way, "experiment.ways")
    if not axes or PRESET in axes:
        what = f"names another preset, {axes[PRESET][0]}" if axes else "is empty"
        raise UserError(f"experiment.ways: a way {what}: name what it sets, such as layout=contiguous.")
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def _left(given: Axes, ways: Sequence[Way]) -> list[Way]:
    """The ways that say of their options what is given of them.

    None where something is given that no way says, and none where all of a way is given: there is nothing
    left to choose then, so that the options of one case lead to that case alone.
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
    """An override's value as Hydra understands it: `True` is `true`."""
    return repr(OverridesParser.create().parse_override(override).value())


def _read(overrides: Sequence[str], where: str) -> dict[str, list[str]]:
    """The axes of a part of a preset, whose mistakes are told with the part's name."""
    try:
        return axes_of(overrides)
    except OverrideParseException as error:
        raise UserError(f"{where}: cannot read {error.override!r}: write key=value.") from error
