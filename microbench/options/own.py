"""Models of the user's own: from the file or package that defines one to its other options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from microbench.config import SOURCES
from microbench.errors import UserError, nearest
from microbench.system.weights import digest_with_weights

MODEL = "model"
OWN = ("model.file", "model.target")
"""The options that say where the user's own model is."""

DEFINITION = re.compile(r"^(?:def|class)\s+(\w+)", re.MULTILINE)


def names_one(override: str) -> bool:
    """Return whether an override names a model: one of ours, or the user's own."""
    return override.lstrip("+").partition("=")[0] in (MODEL, *OWN)


def with_model(overrides: Sequence[str]) -> list[str]:
    """Return overrides that name a model with the choice of its group, which may be left out."""
    keys = {each.lstrip("+").partition("=")[0] for each in overrides if "=" in each}
    return ["model=own", *overrides] if keys.intersection(OWN) and MODEL not in keys else list(overrides)


def complete(model: DictConfig) -> None:
    """Set what follows from the place of the user's own model, if it is one: source, name, and digest.

    The path becomes absolute; a relative one is relative to the current folder, also in a YAML file.

    Raises:
        UserError: there is no such file, it is of an unknown kind, nothing in it is named, or the model has
            neither a place nor a source.
    """
    if model.code is not None:
        raise UserError("model.code is found by itself: leave it out.")
    if model.file is not None and model.target is not None:
        raise UserError("Give one of model.file and model.target.")
    place = model.target if model.file is None else model.file
    if place is None:
        if OmegaConf.is_missing(model, "source"):
            raise UserError(
                "Give model.file=FILE.py:NAME or model.target=package.module:NAME: nothing else says what "
                "builds the model (model.source)."
            )
        return
    path, factory = Path(place), ""
    if model.file is None:
        if not re.fullmatch(r"\w+(\.\w+)*:\w+", place):
            raise UserError(f"model.target={place} is not possible: write package.module:function.")
        source = "own"
    else:
        try:
            path, factory, source = _located(place)
            model.file, model.code = f"{path}{factory}", digest_with_weights(path, factory)
        except OSError as error:
            raise UserError(f"model.file={place}: cannot read it: {error.strerror}.") from error
    if OmegaConf.is_missing(model, "source"):
        model.source = source
    if OmegaConf.is_missing(model, "input_shape"):
        model.input_shape = []
    if not model.name:
        model.name = f"{path.stem}{factory}" if model.file else place.rpartition(".")[2]


def _located(place: str) -> tuple[Path, str, str]:
    """Return a file's absolute path, what it names in a Python file with its colon, and the source.

    Raises:
        UserError: there is no such file, it is of an unknown kind, or nothing in it is named.
    """
    found = re.fullmatch(r"(.*\.py)(:\w*)?", place)
    path, factory = (Path(found[1]), found[2] or "") if found else (Path(place), "")
    path = path.expanduser()
    if path.suffix not in SOURCES:
        allowed = ", ".join(SOURCES)
        raise UserError(f"model.file={place}: unknown kind of file {path.suffix!r}. Allowed: {allowed}.")
    if not path.is_file():
        what = "this is a folder" if path.is_dir() else "there is no such file"
        beside = path.parent.glob(f"*{path.suffix}") if path.parent.is_dir() else ()
        close = nearest(str(path), map(str, beside))
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        raise UserError(f"model.file={place}: {what} (from {Path.cwd()}).{hint}")
    if path.suffix == ".py" and len(factory) < 2:
        defined = DEFINITION.findall(path.read_text("utf-8", errors="replace"))
        hint = f" It defines {', '.join(defined)}." if defined else ""
        raise UserError(f"model.file={place} names no function or class: write {path}:NAME.{hint}")
    return path.resolve(), factory, SOURCES[path.suffix]
