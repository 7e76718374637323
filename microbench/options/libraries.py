"""Models of other libraries: `model=timm/NAME`, and `model=transformers/NAME` for a configuration class.

As with torchvision, names are read from the library's source, because importing it takes seconds. Without the
library every name is accepted: the case is then skipped, and says how to install it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

from microbench import registry
from microbench.config import TOKENS
from microbench.distribution import install_line
from microbench.errors import StoppedError

GROUP = "model"


@dataclass(frozen=True)
class Library:
    """A library whose models are options.

    Attributes:
        files: its source files that name models, as a pattern below its folder.
        named: what finds the names in them.
        key: the option that a name sets besides `model.name`; None for none.
        values: other options of every model.
    """

    files: str
    named: re.Pattern[str]
    key: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


LIBRARIES = {
    "timm": Library("models/*.py", re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)),
    "transformers": Library(
        "models/auto/*.py",
        re.compile(r"""[:,]\s*["'](\w+Config)["']"""),
        "config_class",
        {"seq_len": TOKENS},
    ),
}


@cache
def models(library: str) -> frozenset[str] | None:
    """Return the models that a library names; None without the library."""
    spec = find_spec(library)
    if spec is None or spec.origin is None:
        return None
    known, folder = LIBRARIES[library], Path(spec.origin).parent
    texts = (file.read_text("utf-8") for file in folder.glob(known.files))
    return frozenset(name for text in texts for name in known.named.findall(text))


def broken(library: str) -> StoppedError:
    """Return the error for a library that is installed, but names no models."""
    return StoppedError(
        f"The installation of {library} is broken, because it names no models: `pip uninstall {library}`, "
        f"then `{install_line(library)}`"
    )


def having(name: str) -> list[str]:
    """Return the options of that name, in whatever library there is one."""
    return [f"{library}/{name}" for library in LIBRARIES if name in names(library)]


def names(library: str) -> set[str]:
    """Return the names of a library's models, which are its own and those of our files."""
    return {*(models(library) or ()), *registry.files(f"{GROUP}/{library}")}


class LibrarySource(ConfigSource):
    """A configuration source with one file in `model/LIBRARY/` per model of a library."""

    @staticmethod
    def scheme() -> str:
        """Return the scheme of this source's place in Hydra's search path, which names the library."""
        return "library"

    @property
    def group(self) -> str:
        """The group of the library's models."""
        return f"{GROUP}/{self.path}"

    def available(self) -> bool:
        """Return True: names are accepted even if the library is missing."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Return whether a path is the root, `model/`, or the library's folder in it."""
        return config_path.strip("/") in ("", GROUP, self.group)

    def is_config(self, config_path: str) -> bool:
        """Return whether a path is a model."""
        group, _, name = config_path.removesuffix(".yaml").rpartition("/")
        if group != self.group:
            return False
        known = models(self.path)
        return name in known if known is not None else bool(name)

    def load_config(self, config_path: str) -> ConfigResult:
        """Return the configuration of one model; the library knows the shape of its input."""
        if not self.is_config(config_path):
            raise ConfigLoadError(f"{self.path} has no model {config_path!r}")
        name = config_path.removesuffix(".yaml").rpartition("/")[2]
        library = LIBRARIES[self.path]
        values = {
            "source": self.path,
            "name": f"{self.path}/{name}",
            "input_shape": [],
            **library.values,
            **({library.key: name} if library.key else {}),
        }
        return ConfigResult(
            self.provider, f"{self.scheme()}://", OmegaConf.create(values), header={"package": None}
        )

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """List the groups and configurations at a path."""
        path = config_path.strip("/")
        inner = {"": GROUP, GROUP: self.path}.get(path)
        if inner is not None:
            return [] if results_filter == ObjectType.CONFIG else [inner]
        return (
            sorted(models(self.path) or ())
            if path == self.group and results_filter != ObjectType.GROUP
            else []
        )
