"""Options declared once, with the fields of dataclasses, and everything derived from the declarations.

Help, checks, what identifies a case, what is ranked and a record's columns are derived here. Nothing here
knows the individual options.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import MISSING, dataclass, field, fields, replace
from enum import Enum, auto
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from microbench.errors import UserError, unknown

UNRESOLVED = "auto"
"""The value of an option that only the machine decides: what needs another value of it is checked then."""

TYPES: Mapping[Any, str] = {
    int: "an integer",
    float: "a number",
    str: "a text",
    bool: "true or false",
    list: "a list, such as [3,224,224]",
    dict: "a dictionary, such as {stride: 2}",
}
"""Names of the types of values."""


class Role(Enum):
    """What an option is about."""

    WORK = "work"
    """What is computed."""
    CONFIGURATION = "configuration"
    """How it is run: cases that differ only in these are alternatives, which are ranked."""
    MEASURING = "measuring"
    """How it is measured and checked."""
    PRESENTATION = "presentation"
    """How it is shown; it may change when a run is completed or shown again."""


class Scope(Enum):
    """What a value applies to."""

    ROUND = "round"
    """What one round measures may depend on it."""
    CASE = "case"
    """All rounds of a case; none depends on it."""
    RUN = "run"
    """All cases of a run; it cannot be swept over."""


@dataclass(frozen=True)
class Bounds:
    """Bounds of the allowed finite numbers."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def holds(self, number: float) -> bool:
        """Return whether a number is within them."""
        return (
            -math.inf < number < math.inf
            and (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        if self.at_most is not None:
            return f"from {self.at_least:g} to {self.at_most:g}"
        if self.below is not None:
            return f"between {self.above:g} and {self.below:g}, both excluded"
        return f"of at least {self.at_least:g}" if self.at_least is not None else f"above {self.above:g}"


@dataclass(frozen=True)
class Rule:
    """A rule for allowed values that neither names nor bounds describe.

    Attributes:
        holds: returns whether a value is allowed.
        text: what is allowed, such as `a list of sizes of at least 1`.
    """

    holds: Callable[[Any], bool]
    text: str


class Free(Enum):
    """Values that only the type restricts."""

    ANY = auto()
    FOLDER = auto()


ANY, FOLDER = Free.ANY, Free.FOLDER

Allowed = Mapping[str, str] | Bounds | Rule | Free
"""Names, each with its meaning or an empty text; bounds; a rule; or any value of the type."""


@dataclass(frozen=True)
class Option:
    """An option's declaration.

    Attributes:
        help: its meaning, in a phrase.
        allowed: its allowed values.
        role: what it is about.
        scope: what a value applies to.
        unit: the unit of a number: seconds, pJ, share, …
        null: the meaning of null.
        of: for another option's key, the values of it that have this option; with other values, this option
            must have its default.
        elsewhere: what there is instead of it with other values.
        axis: the name of its column in records; empty if it has none.
        after: the axis that its own follows, if that is not the order of the fields.
        joined: the separator between the items of a list in that column.
        is_nested: whether it may be a dictionary, though it may be another value too.
        is_timing: whether the times of samples depend on it, though it is no part of what is run.
        is_resolved: whether its default depends on the machine, so that a case's command includes it.
        is_titled: whether every title shows its value.
        follows: the option that its default depends on.
        unless: the options that, if given, identify the work in its place.
        also: another name that the command line accepts for it.
        key: its dotted key.
        type: its type.
        default: its default.
    """

    help: str
    allowed: Allowed
    role: Role
    scope: Scope = Scope.ROUND
    unit: str = ""
    null: str = ""
    of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    elsewhere: str = ""
    axis: str = ""
    after: str = ""
    joined: str = ","
    is_nested: bool = False
    is_timing: bool = False
    is_resolved: bool = False
    is_titled: bool = False
    follows: str = ""
    unless: Sequence[str] = ()
    also: str = ""
    key: str = ""
    type: Any = None
    default: Any = None

    @property
    def name(self) -> str:
        """Its name on a command line; the name of a group's file is set by the group's own name."""
        return self.key.removesuffix(".name")

    @property
    def takes_null(self) -> bool:
        """Whether it may be null."""
        return NoneType in get_args(self.type)

    @property
    def is_dictionary(self) -> bool:
        """Whether it may be a dictionary, which may hold anything."""
        return self.is_nested or get_origin(self.type) is dict

    @property
    def is_work(self) -> bool:
        """Whether it is part of what is run, not of how that is measured or shown."""
        return self.role in (Role.WORK, Role.CONFIGURATION)

    @property
    def owners(self) -> str:
        """The values of other options that have it, such as `torchscript, libtorch`."""
        groups = {"engine.name", "mode.name", "device.name"}
        return ", ".join(
            name if key in groups else f"{key}={_spelled(name)}"
            for key, names in self.of.items()
            for name in names
        )

    @property
    def subject(self) -> str:
        """Its owners and its meaning."""
        return f"{self.owners}: {self.help}" if self.of else self.help

    @property
    def explained(self) -> str:
        """The same, with its allowed names, its unit, and the meaning of null."""
        text = self.subject
        if isinstance(self.allowed, Mapping):
            text += f": {self._names}"
        elif self.unit:
            text += f", as a {self.unit}" if self.unit == "share" else f", in {self.unit}"
        return f"{text}; null: {self.null}" if self.null else text

    @property
    def what_is_allowed(self) -> str:
        """Its allowed values, such as `an integer of at least 1, or null for no limit`."""
        if isinstance(self.allowed, Mapping):
            text = self._names
        elif isinstance(self.allowed, Bounds):
            kinds = {"": self.kind, "share": "a share"}
            text = f"{kinds.get(self.unit, f'a number of {self.unit}')} {self.allowed}"
            text += " (0.01 is 1 %)" if self.unit == "share" else ""
        else:
            text = self.allowed.text if isinstance(self.allowed, Rule) else self.kind
        return f"{text}, or null" + (f" for {self.null}" if self.null else "") if self.takes_null else text

    @property
    def _names(self) -> str:
        assert isinstance(self.allowed, Mapping)
        return ", ".join(f"{name} ({why})" if why else name for name, why in self.allowed.items())

    @property
    def kind(self) -> str:
        """The name of its type, such as `an integer`."""
        kinds = (get_origin(self.type), self.type, *get_args(self.type))
        return next((TYPES[each] for each in kinds if each in TYPES), "a value")

    def check(self, value: Any) -> None:
        """Reject a value that is not allowed.

        Raises:
            UserError: it is not allowed; says what is.
        """
        if isinstance(self.allowed, Free) or (value is None and self.takes_null):
            return
        if isinstance(self.allowed, Mapping):
            if not isinstance(value, str) or value not in self.allowed:
                raise unknown(self.key, str(value), self.allowed)
            return
        with suppress(TypeError, ValueError, RuntimeError):  # from Python, any object may be passed
            is_of_type = not isinstance(value, bool) and (isinstance(value, int) or self.kind != TYPES[int])
            if is_of_type and self.allowed.holds(value):
                return
        raise UserError(f"{self.key}={value} is not possible: give {self.what_is_allowed}.")

    def check_owner(self, value: Any, others: Mapping[str, Any]) -> None:
        """Reject a value that would have no effect.

        Args:
            value: its value.
            others: by their keys, the values of the options in `of`.

        Raises:
            UserError: no owner of the option is selected; names the owners.
        """
        for key, names in self.of.items():
            if value != self.default and others[key] not in (*names, UNRESOLVED):
                other = key.removesuffix(".name")
                owners = " and ".join(f"{other}={_spelled(name)}" for name in names)
                instead = f": {self.elsewhere}" if self.elsewhere else ""
                raise UserError(
                    f"{self.name}={_spelled(value)} is an option of {owners}; {other}="
                    f"{_spelled(others[key])} does not have it{instead}."
                )


def option(
    default: Any,
    help: str,  # noqa: A002 - as every command line calls it
    allowed: Allowed | Sequence[str] | None = None,
    *,
    role: Role,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    **more: Any,
) -> Any:
    """Declare a field of a dataclass as an option.

    Args:
        default: its default; `list` or `dict` for an empty one.
        help: its meaning, in a phrase.
        allowed: its allowed values: names, with or without their meanings, a rule, or ANY; by default a flag
            may be true or false.
        role: what it is about.
        at_least: inclusive lower bound of a number.
        above: exclusive lower bound.
        at_most: inclusive upper bound.
        below: exclusive upper bound.
        more: other attributes of `Option`.
    """
    bounds = Bounds(at_least, above, at_most, below)
    if allowed is None:
        allowed = ANY if isinstance(default, bool) else bounds
        if allowed is bounds and bounds == Bounds():
            raise ValueError(f"say which values are allowed: {help}")
    elif isinstance(allowed, Sequence):
        allowed = dict.fromkeys(allowed, "")
    metadata = {"option": Option(help, allowed, role, **more)}
    if default in (list, dict):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def group(schema: type, help: str, in_files: bool = False) -> Any:  # noqa: A002 - as in option
    """Declare a field of a dataclass as a group of options.

    Args:
        schema: the dataclass that declares them.
        help: what they are about.
        in_files: whether the group's YAML files set them, so that `--help` leaves them out.
    """
    return field(default_factory=schema, metadata={"group": help, "in_files": in_files})


@cache
def groups_of(schema: type) -> Mapping[str, Mapping[str, Any]]:
    """Return the groups of a schema by name, each with its declaration."""
    return {each.name: each.metadata for each in fields(schema) if "group" in each.metadata}


@cache
def options_of(schema: type) -> Mapping[str, Option]:
    """Return every option of a schema by its dotted key, in the order of the fields."""
    return {each.key: each for each in _walk(schema)}


def _walk(schema: type, prefix: str = "") -> Iterator[Option]:
    hints = get_type_hints(schema)
    for each in fields(schema):
        if "group" in each.metadata:
            assert isinstance(each.default_factory, type)
            yield from _walk(each.default_factory, f"{prefix}{each.name}.")
        else:
            default = each.default if each.default_factory is MISSING else each.default_factory()
            kind = hints[each.name]
            yield replace(each.metadata["option"], key=prefix + each.name, type=kind, default=default)


@cache
def keys_of(schema: type) -> frozenset[str]:
    """Return the dotted key of every option and every group of a schema."""
    return frozenset((*options_of(schema), *groups_of(schema)))


@cache
def axes_in(schema: type) -> Mapping[str, Option]:
    """Return the options that are axes of a record, by the axis' name, in the order of the columns."""
    declared = [each for each in options_of(schema).values() if each.axis]
    placed = [each for each in declared if not each.after]
    for each in declared:
        if each.after:
            placed.insert(1 + [other.axis for other in placed].index(each.after), each)
    return {each.axis: each for each in placed}


def axes_of(config: Any) -> dict[str, Any]:
    """Return the values of a configuration that are axes of its records, by the axis' name."""
    return {
        axis: as_column(value_of(config, each.key), each) for axis, each in axes_in(config.__class__).items()
    }


def as_column(value: Any, declared: Option) -> Any:
    """Return an axis' value as its column has it: the items of a list are joined."""
    return declared.joined.join(map(str, value)) if isinstance(value, list) else value


def value_of(config: Any, key: str) -> Any:
    """Return the value at a dotted key, such as `measure.rel_ci`."""
    value = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def with_values(config: Any, values: Mapping[str, Any]) -> Any:
    """Return a copy of a configuration with other values, by their dotted keys."""
    found = deepcopy(config)
    for key, value in values.items():
        group, _, name = key.rpartition(".")
        setattr(value_of(found, group) if group else found, name, value)
    return found


def identifies(declared: Option, config: Any) -> bool:
    """Return whether an option is part of what a configuration runs, and no other option says the same."""
    return declared.is_work and all(value_of(config, key) is None for key in declared.unless)


def work_of(config: Any) -> dict[str, Any]:
    """Return the options of a configuration's work that differ from their defaults, nested.

    Only these count, so that a new option does not change the identity of old cases.
    """
    found: dict[str, Any] = {}
    for key, each in options_of(config.__class__).items():
        value = value_of(config, key)
        if identifies(each, config) and value != each.default:
            *path, name = key.removeprefix("measure.").split(".")  # how, not what, is measured
            place = found
            for part in path:
                place = place.setdefault(part, {})
            place[name] = value
    return found


def check(config: Any) -> None:
    """Reject a value that its option does not allow, or that has no effect with the other options.

    Raises:
        UserError: the first such value; says what is allowed.
    """
    declared = options_of(config.__class__)
    values = {key: value_of(config, key) for key in declared}
    for key, each in declared.items():
        each.check(values[key])
    for key, each in declared.items():
        each.check_owner(values[key], values)


def _spelled(value: Any) -> str:
    """Return a value as it is written on a command line."""
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
