"""Options without a file in `conf/`: torchvision's models, GPUs by number, and those of other packages.

Every model of torchvision is a `model=` option without a YAML file of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from microbench import registry
from microbench.distribution import CONF
from microbench.options.libraries import LIBRARIES, LibrarySource
from microbench.options.torchvision import options_of, torchvision_models

GROUP = "model"


def families(names: Iterable[str]) -> dict[str, list[str]]:
    """Group those of the names that torchvision has by family."""
    known = torchvision_models()
    grouped: dict[str, list[str]] = {}
    for name in sorted(names, key=_natural):
        if name in known:
            grouped.setdefault(known[name], []).append(name)
    return dict(sorted(grouped.items()))


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts resnet18 before resnet101."""
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]


class TorchvisionSource(ConfigSource):
    """A configuration source with one file in `model/` per model."""

    @staticmethod
    def scheme() -> str:
        """Return the scheme of this source's place in Hydra's search path."""
        return "torchvision"

    def available(self) -> bool:
        """Return whether torchvision is installed."""
        return bool(torchvision_models())

    def is_group(self, config_path: str) -> bool:
        """Return whether a path is the root or `model/`."""
        return config_path.strip("/") in ("", GROUP)

    def is_config(self, config_path: str) -> bool:
        """Return whether a path is a model."""
        group, _, name = config_path.removesuffix(".yaml").rpartition("/")
        return group == GROUP and name in torchvision_models()

    def load_config(self, config_path: str) -> ConfigResult:
        """Return the configuration of one model."""
        if not self.is_config(config_path):
            raise ConfigLoadError(f"torchvision has no model {config_path!r}")
        name = config_path.removesuffix(".yaml").rpartition("/")[2]
        config = OmegaConf.create(options_of(name))
        return ConfigResult(self.provider, f"{self.scheme()}://", config, header={"package": None})

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """List the groups and configurations at a path."""
        path = config_path.strip("/")
        if path == "" and results_filter != ObjectType.CONFIG:
            return [GROUP]
        return sorted(torchvision_models()) if path == GROUP and results_filter != ObjectType.GROUP else []


class NumberedSource(ConfigSource):
    """A configuration source with the GPUs by their numbers, such as `device=cuda:1`."""

    NUMBERED = re.compile(r"device/(cuda):(\d+)(\.yaml)?")

    @staticmethod
    def scheme() -> str:
        """Return the scheme of this source's place in Hydra's search path."""
        return "numbered"

    def available(self) -> bool:
        """Return True: whether there is such a GPU is found out later."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Return whether a path is the root or `device/`."""
        return config_path.strip("/") in ("", "device")

    def is_config(self, config_path: str) -> bool:
        """Return whether a path is a GPU with a number."""
        return self.NUMBERED.fullmatch(config_path) is not None

    def load_config(self, config_path: str) -> ConfigResult:
        """Return the configuration of one GPU."""
        found = self.NUMBERED.fullmatch(config_path)
        if found is None:
            raise ConfigLoadError(f"there is no device {config_path!r}")
        config = OmegaConf.create({"name": found[1], "index": int(found[2])})
        return ConfigResult(self.provider, f"{self.scheme()}://", config, header={"package": None})

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return nothing: any number may be given."""
        return []


class InstalledSource(ConfigSource):
    """The YAML files of other installed packages, which are searched after our own."""

    @staticmethod
    def scheme() -> str:
        """Return the scheme of this source's place in Hydra's search path."""
        return "installed"

    def available(self) -> bool:
        """Return True: there may be such files."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Return whether a path is one of our groups."""
        return bool(config_path) and (CONF / config_path).is_dir()

    def is_config(self, config_path: str) -> bool:
        """Return whether a path is a file."""
        group, _, name = config_path.removesuffix(".yaml").rpartition("/")
        return self.is_group(group) and name in registry.files(group)

    def load_config(self, config_path: str) -> ConfigResult:
        """Load a file as Hydra loads those of a folder."""
        group, _, name = config_path.removesuffix(".yaml").rpartition("/")
        folder = registry.files(group)[name].parents[1]
        return FileConfigSource(self.provider, f"file://{folder}").load_config(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """List the files of a group."""
        is_wanted = self.is_group(config_path) and results_filter != ObjectType.GROUP
        return sorted(registry.files(config_path)) if is_wanted else []


class SearchPath(SearchPathPlugin):
    """Adds these sources to the search path after `conf/`, whose files win."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the sources."""
        places = [f"{LibrarySource.scheme()}://{library}" for library in LIBRARIES]
        numbered, installed = f"{NumberedSource.scheme()}://", f"{InstalledSource.scheme()}://"
        for place in (f"{TorchvisionSource.scheme()}://", *places, numbered, installed):
            search_path.append("catalog", place)


@contextmanager
def also(models: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Let `model` also have these names within the context, each with its options."""
    store = ConfigStore.instance()
    for name, options in models.items():
        store.store(name=name, node=dict(options), group=GROUP)
    try:
        yield
    finally:
        for name in models:
            del store.repo[GROUP][f"{name}.yaml"]


def register() -> None:
    """Register the sources with Hydra; repeating it changes nothing."""
    for plugin in (TorchvisionSource, LibrarySource, NumberedSource, InstalledSource, SearchPath):
        Plugins.instance().register(plugin)
