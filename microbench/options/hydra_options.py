"""Which of Hydra's own options microbench honours, and why it has none of the others."""

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
"""Options that the folder's name may refer to, and are honoured then."""

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
    "hydra.env": "it says nothing to microbench",
    "hydra.job.chdir": "microbench stays in the folder where it was started",
    "hydra.job.id": SET_BY_HYDRA,
    "hydra.job.num": SET_BY_HYDRA,
    "hydra.job.config_name": SET_BY_HYDRA,
    "hydra.job.override_dirname": SET_BY_HYDRA,
    "hydra.overrides": SET_BY_HYDRA,
    "hydra.runtime": SET_BY_HYDRA,
}
"""By an option, or what a group's begin with, why there is no such option here."""

FOUND_OUT = re.compile(r"hydra\.(overrides|runtime\.(?!output_dir)|job\.(override_dirname|config_name))")
"""What Hydra finds out for each configuration."""


def check_key(key: str) -> None:
    """Refuse an option of Hydra's that would do nothing here, by its key in an override.

    One that nobody knows is left for Hydra to judge.

    Raises:
        UserError: it is one, and why there is none.
    """
    name = key.partition("@")[0].replace("/", ".")
    if _begins(name, HONOURED) or _begins(name, OF_THE_FOLDER):
        return
    if known := _begins(name, REFUSED):
        raise _none(key, REFUSED[known])


def check(config: DictConfig, plain: DictConfig) -> None:
    """Refuse a configuration of Hydra's in which an option is set that would do nothing here.

    Args:
        config: a composed configuration's `hydra`.
        plain: the one that nobody changed.

    Raises:
        UserError: there is one, and why there is none.
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
    """The longest of some names that a key is, or lies below."""
    return max((each for each in known if key == each or key.startswith(f"{each}.")), key=len, default=None)


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """The values of a configuration by dotted key; a dictionary without any is one itself."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}")
    else:
        yield key, value
