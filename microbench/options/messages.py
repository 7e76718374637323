"""One-line errors for invalid configurations: what is wrong, what is allowed, what was meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from microbench import registry
from microbench.config import OPTIONS, Config
from microbench.errors import UserError, first_line, nearest, synonyms, unknown
from microbench.options import libraries
from microbench.schema import Rule, groups_of, keys_of

GROUPS = set(groups_of(Config))
WAYS = "experiment.ways must be a list of lists of options, such as [[layout=contiguous],[layout=mkldnn]]."
NUMBERED = OPTIONS["device.index"].of["device.name"]
EXAMPLES = {"model.cls": "torch.nn.GELU", "model.input_shape": "[1024]"}


def explain(error: BaseException) -> UserError:
    """Return the one-line error for an error raised when composing a configuration."""
    for cause in _causes(error):
        for kinds, tell in _TELLERS:
            told = tell(cause) if isinstance(cause, kinds) else None
            if told is not None:
                return told
    return UserError(first_line(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error's causes, the root cause first, and then the error."""
    chain = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    yield from reversed(chain)


def _missing_config(error: Any) -> UserError | None:
    if error.missing_cfg_file is None:
        return None
    group, slash, name = str(error.missing_cfg_file).removesuffix(".yaml").partition("/")
    if not slash:
        return UserError(f"There is no configuration {group!r} to start from.")
    if group == libraries.GROUP:
        return _no_model(name, error.options or [])
    if group == "device" and ":" in name:
        device = name.partition(":")[0]
        wanted = "numbers count from 0, as in" if device in NUMBERED else "only GPUs have numbers, as in"
        return UserError(f"device={name} is not possible: {wanted} device={NUMBERED[0]}:1.")
    return unknown(group, name, error.options or [], see=f"`microbench list {group}s`")


def _no_model(name: str, options: list[str]) -> UserError:
    """Return the error for an unknown model, or for one of a library that is given without the library."""
    library, _, rest = name.rpartition("/")
    if library in libraries.LIBRARIES:
        if libraries.models(library) == frozenset():
            return libraries.broken(library)
        names = [f"{library}/{each}" for each in libraries.names(library)]
        return unknown("model", name, names, see=f"`microbench list {library}`")
    if found := libraries.having(rest):
        return UserError(f"Unknown model {name!r}. Did you mean {', '.join(found)}?")
    return unknown("model", name, options, see="`microbench list models layers`")


def _bad_override(error: Any) -> UserError:
    given = error.override.removeprefix("++")  # as dictionaries are given here
    return UserError(f"Cannot read the option {given!r}: write key=value, a list as key=[a,b].")


def _bad_yaml(error: Any) -> UserError:
    mark = getattr(error, "problem_mark", None)
    where = f"{mark.name}, line {mark.line + 1}" if mark else "a configuration file"
    return UserError(f"Cannot read {where}: {getattr(error, 'problem', None) or first_line(error)}.")


def _unknown_key(error: Any) -> UserError | None:
    return unknown_key(error.full_key) if error.full_key else None


def unknown_key(key: str) -> UserError:
    """Return the error for a key that the schema does not have."""
    known = [name for name in keys_of(Config) if "." not in key or name not in GROUPS]
    known += [each.also for each in OPTIONS.values() if each.also]
    group, dot, name = key.rpartition(".")
    prefix = group + dot  # the common prefix of a group does not tell which key was meant
    within = [each.removeprefix(prefix) for each in known if dot and each.startswith(prefix)]
    names = synonyms(key) or [prefix + each for each in nearest(name, within)]
    names = names or nearest(key, known) or synonyms(name) or nearest(name, known)
    hint = f" Did you mean {', '.join(names)}?" if names else ""
    if group == "experiment" and name in GROUPS | {"hydra", "defaults"} | set(known):
        hint = " A preset's file begins with `# @package _global_`."
    return UserError(f"Unknown option {key!r}.{hint} All options: `microbench --cfg job model=resnet18`")


def no_plus(name: str) -> UserError:
    """Return the error for a preset without the plus sign, which Hydra requires."""
    known = registry.files("experiment")
    meant = name if name in known else next(iter(nearest(name, known)), name)
    return UserError(f"A preset is added to the options: write +experiment={meant}.")


def missing_key(key: str) -> UserError:
    """Return the error for a missing mandatory key."""
    example = EXAMPLES.get(key, "VALUE")
    return UserError(f"{key} must be given, for example {key}={example}.")


def _bad_value(error: Any) -> UserError | None:
    if isinstance(error.full_key, int) or str(error.full_key).startswith("experiment.ways"):
        return UserError(WAYS)  # a bare number is an index of the only list of lists
    if not error.full_key:
        return None
    wanted = OPTIONS.get(error.full_key)
    if wanted is None or not isinstance(error, ValidationError):
        return UserError(f"{error.full_key}: {first_line(error).removesuffix('.')}.")
    given = re.match(r"Value '(.*?)'", str(error))
    kind = f"{wanted.kind} or null" if wanted.takes_null else wanted.kind
    if wanted.type is int and isinstance(wanted.allowed, Rule):
        kind = wanted.what_is_allowed
    return UserError(f"{error.full_key}{f'={given[1]}' if given else ''} must be {kind}.")


def _hydra_text(error: BaseException) -> UserError | None:
    """Return a one-line error for a multi-line message of Hydra; None for others."""
    text = str(error)
    if found := re.search(r"You must specify '(\w+)'", text):
        group = found[1]
        return UserError(
            f"Give a {group}, for example {group}=resnet18; all there are: `microbench list {group}s`"
        )
    if found := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.+?)'", text):
        return UserError(f"{found[1]} names several values: add -m to sweep over them.")
    if found := re.search(r"In '(.+?)': \w+ raised while composing config:\s*(\S.*)", text):
        reason = "it must hold keys with values" if "Merge error" in found[2] else found[2]
        return UserError(f"Cannot use {found[1]}.yaml: {reason}.")
    if found := re.search(r"Could not override '(.+?)'", text):
        return unknown_key(found[1])
    return None


def _bad_file(error: Any) -> UserError | None:
    if error.filename is None:
        return None
    return UserError(f"Cannot write {error.filename}: {error.strerror}. Give hydra.run.dir=DIR.")


_TELLERS: tuple[tuple[Any, Callable[[Any], UserError | None]], ...] = (
    (MissingConfigException, _missing_config),
    (OverrideParseException, _bad_override),
    (yaml.YAMLError, _bad_yaml),
    ((ConfigAttributeError, ConfigKeyError), _unknown_key),
    (ValidationError, _bad_value),
    (OSError, _bad_file),
    (OmegaConfBaseException, _bad_value),
    (Exception, _hydra_text),
)
