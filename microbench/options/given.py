"""From module objects, as a Python program has them, to cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from microbench.config import OBJECTIVES
from microbench.errors import UserError
from microbench.options.compose import from_options
from microbench.run.case import Case

if TYPE_CHECKING:
    from microbench.workloads.given import Given, Sent

NAMED = (str, Mapping, type(None))
"""Types of a `model` that has a name."""

FREE = ("model.name", "model.part", "model.input_grad")
"""The options of a model that a module object has too."""


@contextmanager
def cases_of(options: Mapping[str, Any], inputs: Any, sweep: bool) -> Iterator[list[Case]]:
    """Yield the cases that keyword arguments describe, as `from_options` does; `model` may be an object.

    Files hold the objects until the context ends, for the processes that measure them.

    Raises:
        UserError: the options describe no case, or an object is no module or cannot be sent to a process.
    """
    model = options.get("model")
    listed = list(model) if sweep and isinstance(model, (list, tuple)) else [model]
    if all(isinstance(each, NAMED) for each in listed):
        _check_named(options, inputs)
        yield from_options(options, sweep)
        return
    objects, others = _objects(listed, inputs, options)
    keys = {f"given_{node['identity']}": node for node, _ in objects}
    found = from_options({"model": list(keys) if sweep else next(iter(keys)), **others}, sweep, keys)
    by_identity = {node["identity"]: given for node, given in objects}
    with TemporaryDirectory(prefix="microbench-") as folder:
        files: dict[str | None, Sent] = {}
        yield [_with_object(case, by_identity, files, Path(folder)) for case in found]


def _check_named(options: Mapping[str, Any], inputs: Any) -> None:
    """Reject what only a module object has."""
    if inputs is not None:
        raise UserError("inputs= is for a module object; a named model draws its own.")
    if callable(options.get("objective")):
        raise UserError("A function as objective= is for a module object; a named model has its own.")


def _objects(
    models: Sequence[Any], inputs: Any, options: Mapping[str, Any]
) -> tuple[list[tuple[dict[str, Any], Given]], dict[str, Any]]:
    """Return the module objects, each with its options of the group `model`, and the other options.

    Raises:
        UserError: one is no module, the inputs are not its own, or an option has no effect on it.
    """
    from microbench.workloads.given.identity import batch_size_of

    others = {key: value for key, value in options.items() if key not in ("model", "objective")}
    if strange := [key for key in others if key.startswith("model.") and key not in FREE]:
        raise UserError(f"{strange[0]} is not for a module object, whose options are {', '.join(FREE)}.")
    objective = options.get("objective")
    if isinstance(objective, str) and objective in OBJECTIVES:
        others["objective"] = objective  # of a search
        objective = None
    found = [_given(model, inputs, objective) for model in models]
    asked = others.pop("batch_size", None)
    if asked == "max":
        raise UserError("batch_size=max is not possible: the inputs of a module object have their batch.")
    sizes = [batch_size_of(each, asked) for each in found]
    return list(zip(_nodes(found), found, strict=True)), {**others, "batch_size": sizes[0]}


def _given(model: Any, inputs: Any, objective: Any) -> Given:
    """Return a module object with its inputs and its objective.

    Raises:
        UserError: it is no module, is compiled, or has other inputs, or there is no such objective.
    """
    from microbench.profile.arguments import arguments_of, check, is_compiled, place_of
    from microbench.workloads import objectives
    from microbench.workloads.given import Given

    if inputs is None:
        raise UserError("A module object needs its inputs: give inputs=TENSOR, a tuple, or a dictionary.")
    objectives.find(objective, 0)
    check(model)
    if any(map(is_compiled, model.modules())):
        raise UserError("The module is compiled: give it without compiling it, and engine='compile'.")
    arguments = arguments_of(model, place_of(model, inputs), inputs, None, None)
    return Given(model, tuple(arguments.args), dict(arguments.kwargs), objective)


def _nodes(found: Sequence[Given]) -> Iterator[dict[str, Any]]:
    """Yield the options of the group `model` for each module object; names of the same class are numbered.

    Raises:
        UserError: two of them are the same work.
    """
    from microbench.workloads.given.identity import identity, input_shape_of

    names, keys = Counter[str](), set[str]()
    for each in found:
        name, key = type(each.module).__name__, identity(each)
        if key in keys:
            raise UserError(f"Two of the modules are a {name} of the same structure: measure one of them.")
        keys.add(key)
        names[name] += 1
        title = name if names[name] == 1 else f"{name}_{names[name]}"
        yield {"source": "given", "name": title, "identity": key, "input_shape": input_shape_of(each)}


def _with_object(
    case: Case, objects: Mapping[str | None, Given], files: dict[str | None, Sent], folder: Path
) -> Case:
    """Return a case with its object: itself, for this process, or in a file, for others."""
    from microbench.workloads.given.sending import sent

    key = case.config.model.identity
    if case.config.isolation == "inline":
        return replace(case, given=objects[key])
    if key not in files:
        files[key] = sent(objects[key], folder / f"{key}.pt")
    return replace(case, given=files[key])
