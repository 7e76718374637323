"""The Hydra options that microbench honours, and why it rejects the others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from microbench.errors import UserError

HONOURED = (
    "hydra.mode",
    "hydra.searchpath",
    "hydra.run.dir",
    "hydra.sweep.dir",
    "hydra.sweeper.params",
    "hydra.job.env_set",
    "hydra.job.env_copy",
)

OF_THE_FOLDER = {
    "hydra.job.name": "${hydra.job.name}",
    "hydra.job.config.override_dirname": "${hydra.job.override_dirname}",
}
"""Options that are honoured if the folder's name refers to them."""

LOGS = "microbench writes no log"
SET_BY_HYDRA = "Hydra sets it itself"
REFUSED = {
    "hydra.sweep.subdir": "the records of a sweep lie in one folder, hydra.sweep.dir",
    "hydra.output": "each record holds its case's whole configuration",
    "hydra.output_subdir": "each record holds its case's whole configuration",
    "hydra.verbose": LOGS,
    "hydra.hydra_logging": LOGS,
    "hydra.job_logging": LOGS,
    "hydra.launcher": "microbench runs the cases itself, see isolation and schedule",
    "hydra.sweeper": "microbench combines the values of a sweep itself, see hydra.sweeper.params",
    "hydra.sweeper.max_batch_size": "the rounds of all cases of a sweep take turns, see schedule",
    "hydra.callbacks": "microbench calls none",
    "hydra.help": "`microbench --help` is microbench's own",
    "hydra.hydra_help": "`microbench --hydra-help` is Hydra's own",
    "hydra.env": "microbench does not use it",
    "hydra.job.chdir": "microbench stays in the folder where it was started",
    "hydra.job.id": SET_BY_HYDRA,
    "hydra.job.num": SET_BY_HYDRA,
    "hydra.job.config_name": SET_BY_HYDRA,
    "hydra.job.override_dirname": SET_BY_HYDRA,
    "hydra.overrides": SET_BY_HYDRA,
    "hydra.runtime": SET_BY_HYDRA,
}
"""For each option, or prefix of a group, why it is not available here."""

FOUND_OUT = re.compile(r"hydra\.(overrides|runtime\.(?!output_dir)|job\.(override_dirname|config_name))")
"""Values that Hydra sets for each configuration itself."""


def check_key(key: str) -> None:
    """Reject the key of a Hydra option that would have no effect here.

    Unknown keys are left to Hydra.

    Raises:
        UserError: it is one; says why it is not available.
    """
    name = key.partition("@")[0].replace("/", ".")
    if _begins(name, HONOURED) or _begins(name, OF_THE_FOLDER):
        return
    if known := _begins(name, REFUSED):
        raise _none(key, REFUSED[known])


def check(config: DictConfig, plain: DictConfig) -> None:
    """Reject a Hydra configuration that sets an option that would have no effect here.

    Args:
        config: a composed configuration's `hydra`.
        plain: the unchanged one.

    Raises:
        UserError: it sets one; says why it is not available.
    """
    found, usual = (dict(_leaves(OmegaConf.to_container(each), "hydra")) for each in (config, plain))
    folders = f"{found['hydra.run.dir']} {found['hydra.sweep.dir']}"
    for key in [*found, *(key for key in usual if key not in found)]:
        if found.get(key) == usual.get(key) or FOUND_OUT.match(key) or _begins(key, HONOURED):
            continue
        reference = OF_THE_FOLDER.get(_begins(key, OF_THE_FOLDER) or "")
        if reference is None:
            raise _none(key, REFUSED.get(_begins(key, REFUSED) or "", "it would do nothing"))
        if reference not in folders:
            raise UserError(f"{key} does nothing unless hydra.run.dir refers to it, as {reference}.")


def _none(key: str, reason: str) -> UserError:
    return UserError(f"microbench has no {key}: {reason}.")


def _begins(key: str, known: Mapping[str, str] | tuple[str, ...]) -> str | None:
    """Return the longest known name that a key equals or is below."""
    return max((each for each in known if key == each or key.startswith(f"{each}.")), key=len, default=None)


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the values of a configuration by dotted key; an empty dictionary is a value."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}")
    else:
        yield key, value
