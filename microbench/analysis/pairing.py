"""Which cases are compared: those that agree in everything except what may differ."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import TypeVar

from microbench.config import OPTIONS
from microbench.errors import NothingToCompareError, unknown
from microbench.records.cases import CaseResult
from microbench.records.naming import PART, labels, varying
from microbench.records.settings import (
    Settings,
    as_given,
    is_configuration,
    is_work,
    keys_by,
    meant,
    settings_of,
    values_by,
    without,
    work_of,
)
from microbench.schema import Scope

Key = TypeVar("Key", bound=Hashable)

NOT_OF_A_ROUND = frozenset(key for key, each in OPTIONS.items() if each.scope is not Scope.ROUND)
"""Settings that do not change what a round measures."""

NAMING = ("model", PART, "mode")
"""The axes whose values are a pair's name."""

MOST_NAMES = 4  # in one line
MOST_LOOKED_AT = 10_000  # pairs, for the nearest one


@dataclass(frozen=True)
class Pair:
    """Two cases to compare.

    Attributes:
        a: the baseline.
        b: the case compared with it.
        a_name: the name of the baseline's side.
        b_name: the name of the other side.
        name: what distinguishes this pair from the others.
    """

    a: CaseResult
    b: CaseResult
    a_name: str
    b_name: str
    name: str = ""


@dataclass(frozen=True)
class Difference:
    """A setting in which the two sides differ, with the values on each."""

    setting: str
    a: tuple[str, ...]
    b: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.setting}: {', '.join(self.a)} → {', '.join(self.b)}"


@dataclass(frozen=True)
class Pairing:
    """At least one pair.

    Attributes:
        pairs: the pairs.
        differences: what differs between their sides.
        remarks: which cases have no counterpart.
        missing: the baselines without one: the name of each, the side that lacks it, and the case.
    """

    pairs: list[Pair]
    differences: list[Difference]
    remarks: list[str]
    missing: list[tuple[str, str, CaseResult]]


def listed(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f"; and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return "; ".join(names[:MOST_NAMES]) + more


def _places(keys: Iterable[Key]) -> dict[Key, list[int]]:
    """Return the places of each key, in the order of their first places."""
    found: dict[Key, list[int]] = {}
    for index, key in enumerate(keys):
        found.setdefault(key, []).append(index)
    return found


def across(a: Sequence[CaseResult], b: Sequence[CaseResult], by: str | None = None) -> Pairing:
    """Pair the cases of one side with those of another.

    Only configuration settings (`Role.CONFIGURATION`) and those named by `by` may differ; those that do have
    no value in common on both sides. Cases that agree in all other settings pair. A single work that agrees
    with several is compared with each; the same work measured several times is paired in order.

    Args:
        a: the baselines.
        b: the cases compared with them.
        by: settings of the work that differ as well, separated by commas, such as `batch_size`.

    Raises:
        NothingToCompareError: no two cases pair, or a setting in `by` has a value that occurs on both sides.
        UserError: a setting in `by` does not exist.
    """
    works = [work_of(case) for case in a], [work_of(case) for case in b]
    apart = _apart(*works)
    names = _named_by(by, works, apart)
    differing = [key for key in apart if is_configuration(key) or any(meant(name, [key]) for name in names)]
    rests = [_places(without(work, differing) for work in side) for side in works]
    matches = sorted(
        match
        for rest in rests[0].keys() & rests[1].keys()
        for match in _matches(rests[0][rest], rests[1][rest], *works)
    )
    if not matches:
        raise _no_pairs(a, b, works, differing, apart)
    pairs = [Pair(a[first], b[second], "A", "B") for first, second in matches]
    there = {without(works[0][first], ()) for first, _ in matches}
    names_of_a = labels(a)
    return Pairing(
        _named(pairs, lambda setting: not is_work(setting)),
        list(_differences(differing, *works)),
        [
            *_left_out("A", "B", a, {first for first, _ in matches}),
            *_left_out("B", "A", b, {second for _, second in matches}),
        ],
        [
            (names_of_a[index], "B", case)
            for index, case in enumerate(a)
            if without(works[0][index], ()) not in there
        ],
    )


def _named_by(
    by: str | None, works: tuple[Sequence[Settings], Sequence[Settings]], apart: Sequence[str]
) -> list[str]:
    """Return the names in `by`.

    Raises:
        NothingToCompareError: a setting has a value that occurs on both sides.
        UserError: there is no setting of that name.
    """
    names = [name.strip().removeprefix("cfg_") for name in by.split(",")] if by else []
    keys = dict.fromkeys(key for side in works for work in side for key in work)
    for name in names:
        if not meant(name, keys):
            raise unknown("setting to compare by", name, dict.fromkeys((*_groups(apart), *keys)))
        if not meant(name, apart):
            told = (
                f"These differ: {', '.join(_groups(apart))}." if apart else "Nothing differs: leave it out."
            )
            raise NothingToCompareError(f"Nothing to compare by {name}: A and B share values of it. {told}")
    return names


def _groups(keys: Sequence[str]) -> list[str]:
    """Return the keys, with a group's name in place of all its settings if the name differs."""
    groups = {key.removesuffix(".name") for key in keys if key.endswith(".name")}
    return list(dict.fromkeys(group if (group := key.partition(".")[0]) in groups else key for key in keys))


def _apart(a: Sequence[Settings], b: Sequence[Settings]) -> list[str]:
    """Return the settings that have no value in common on both sides."""
    keys = dict.fromkeys(key for work in (*a, *b) for key in work)
    return [key for key in keys if {work.get(key) for work in a}.isdisjoint(work.get(key) for work in b)]


def _matches(
    first: Sequence[int], second: Sequence[int], a: Sequence[Settings], b: Sequence[Settings]
) -> Iterator[tuple[int, int]]:
    """Yield which cases pair among those that agree in the rest; none if several works match several."""
    works_a = _places(without(a[index], ()) for index in first).values()
    works_b = _places(without(b[index], ()) for index in second).values()
    if min(len(works_a), len(works_b)) > 1:
        return
    for one, other in product(works_a, works_b):
        newest = zip(reversed(one), reversed(other), strict=False)  # of several runs in a folder, the last
        yield from reversed([(first[i], second[j]) for i, j in newest])


def _differences(keys: Sequence[str], a: Sequence[Settings], b: Sequence[Settings]) -> Iterator[Difference]:
    """Yield what differs; if a group's name does, nothing else of the group."""
    groups = {key.removesuffix(".name") for key in keys if key.endswith(".name")}
    for key in keys:
        group, _, name = key.partition(".")
        if group not in groups or name == "name":
            values = [tuple(dict.fromkeys(as_given(work.get(key)) for work in side)) for side in (a, b)]
            yield Difference(group if group in groups else key, values[0], values[1])


def _left_out(side: str, other: str, cases: Sequence[CaseResult], used: Collection[int]) -> list[str]:
    names = labels(cases)
    unused = [names[index] for index in range(len(cases)) if index not in used]
    why = f"{other} has none, or several, that agree in everything else, or a later run has it too"
    return [f"not compared in {side}, because {why}: {listed(unused)}"] if unused else []


def _no_pairs(
    a: Sequence[CaseResult],
    b: Sequence[CaseResult],
    works: tuple[Sequence[Settings], Sequence[Settings]],
    differing: Sequence[str],
    apart: Sequence[str],
) -> NothingToCompareError:
    """Return the error if no two cases pair: the cases on each side, and how the nearest two differ."""
    differences = (
        [key for key in {**first, **second} if key not in differing and first.get(key) != second.get(key)]
        for first, second in islice(product(*works), MOST_LOOKED_AT)
    )
    nearest = min(differences, key=len)
    keys = ", ".join(_groups(nearest or differing)[:MOST_NAMES])
    told = f" To compare them anyway: --by {','.join(_groups(nearest))}."
    why = f"the nearest two differ in {keys}"
    if not nearest:
        why = f"they differ in {keys}, and several match several"
    return NothingToCompareError(
        f"Nothing to compare, because no case of A pairs with one of B: {why}. "
        f"A: {listed(labels(a))}. B: {listed(labels(b))}."
        f"{told if nearest and {*nearest} <= {*apart} else ''}"
    )


def within(cases: Sequence[CaseResult], by: str, baseline: object = None) -> Pairing:
    """Pair cases that differ in one setting, or one group of settings, and agree in everything else.

    Args:
        cases: at least one case.
        by: an axis such as `engine`, `allocator` or `batch_size`, or a setting's dotted key.
        baseline: the value that the others are compared with; by default the first.

    Raises:
        NothingToCompareError: the setting is the same in all cases, or no two of them agree in everything
            else.
        UserError: there is no such setting, or no case has that value of it.
    """
    keys = keys_by(cases, by)
    values = values_by(cases, by, keys)
    order = list(dict.fromkeys(values))
    first = order[0] if baseline is None else as_given(baseline)
    if first not in order:
        raise unknown(f"baseline of {by}", first, order)
    followers = following(cases, by, values)
    hidden = {by, *keys, *followers, *NOT_OF_A_ROUND}
    settings = [settings_of(case) for case in cases]
    rests = [
        (case.machine.host_id, without(each, hidden)) for case, each in zip(cases, settings, strict=True)
    ]
    matches = list(_matches_within(rests, values, order, first))
    names = labels(cases)
    if not matches:
        raise NothingToCompareError(
            f"Nothing to compare by {by}: no two cases agree in everything else: {listed(names)}."
        )
    pairs = [Pair(cases[i], cases[j], first, values[j]) for i, j in matches]
    sides = [settings[i] for i, _ in matches], [settings[j] for _, j in matches]
    used = {index for match in matches for index in match}
    unused = [name for index, name in enumerate(names) if index not in used]
    return Pairing(
        _named(pairs, lambda setting: setting in hidden),
        [
            Difference(by, (first,), tuple(value for value in order if value != first)),
            *_differences(followers, *sides),
        ],
        [f"not compared, because none agrees in everything but {by}: {listed(unused)}"] if unused else [],
        [
            (names[index], value, cases[index])
            for index, value in _without_counterpart(rests, values, order, first)
        ],
    )


def following(cases: Sequence[CaseResult], by: str, values: Sequence[str]) -> list[str]:
    """Return the settings whose value follows from the value of `by`."""
    settings = [settings_of(case) for case in cases]
    both = {
        key: {*zip(values, (each[key] for each in settings), strict=True)}
        for key, each in OPTIONS.items()
        if each.follows and each.follows == by
    }
    return [key for key, pairs in both.items() if len(pairs) == len(set(values))]


def _matches_within(
    rests: Sequence[Hashable], values: Sequence[str], order: Sequence[str], first: str
) -> Iterator[tuple[int, int]]:
    """Yield the cases that agree in the rest, one with the first value and one with another."""
    for places in _places(rests).values():
        baselines = [index for index in places if values[index] == first]
        for value in order:
            if value != first:
                yield from zip(baselines, [i for i in places if values[i] == value], strict=False)


def _without_counterpart(
    rests: Sequence[Hashable], values: Sequence[str], order: Sequence[str], first: str
) -> Iterator[tuple[int, str]]:
    """Yield the cases with the first value that have no counterpart with another value, and which value."""
    for places in _places(rests).values():
        there = {values[index] for index in places}
        for index in places:
            if values[index] == first:
                yield from ((index, value) for value in order if value not in there)


def _named(pairs: Sequence[Pair], is_hidden: Callable[[str], bool]) -> list[Pair]:
    """Return the pairs, named by model, part, mode, and what distinguishes them."""
    cases = [*(pair.a for pair in pairs), *(pair.b for pair in pairs)]
    words = {name: [str(case.axes[name] or "") for case in cases] for name in NAMING}
    what = [" ".join(filter(None, each)) for each in zip(*_both(words, is_hidden).values(), strict=True)]
    telling = {name: each for name, each in _both(varying(cases), is_hidden).items() if name not in NAMING}
    settings = [
        [f"{name}={values[index]}" for name, values in telling.items() if len(set(values)) > 1]
        for index in range(len(pairs))
    ]
    names = [
        ", ".join(filter(None, [*what[index : index + 1], *settings[index]])) for index in range(len(pairs))
    ]
    named = [replace(pair, name=name) for pair, name in zip(pairs, names, strict=True)]
    return [_numbered(pair, named[:index]) for index, pair in enumerate(named)]


def _both(values: Mapping[str, Sequence[str]], is_hidden: Callable[[str], bool]) -> dict[str, list[str]]:
    """Join each setting's values for the pairs' first cases and for their second ones to one per pair."""
    return {
        name: [
            a if a == b else f"{a}→{b}"
            for a, b in zip(each[: len(each) // 2], each[len(each) // 2 :], strict=True)
        ]
        for name, each in values.items()
        if not is_hidden(name)
    }


def _numbered(pair: Pair, before: Sequence[Pair]) -> Pair:
    """Return a pair with a number in its name if others before it have the same name."""
    alike = sum((each.name, each.b_name) == (pair.name, pair.b_name) for each in before)
    return replace(pair, name=f"{pair.name} ({alike + 1})") if alike else pair
