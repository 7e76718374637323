"""Options of a model that would have no effect on it."""

from __future__ import annotations

from microbench.config import MISSING, OPTIONS, ModelConfig
from microbench.errors import UserError

OF_LAYERS = (
    *("cls", "args", "call_kwargs"),
    *("input_count", "input_shared", "input_dtype", "input_high", "input_grad"),
)
"""The options of layers that models of libraries, which have inputs of their own, do not have."""


def refuse_those_of_layers(config: ModelConfig) -> None:
    """Reject options of layers for a library's model.

    Raises:
        UserError: one is given.
    """
    refuse(config, *OF_LAYERS, why=f"is for layers, and {config.name} has inputs of its own")


def refuse(config: ModelConfig, *names: str, why: str) -> None:
    """Reject options of the group `model`.

    Raises:
        UserError: one of them is given; `why` continues its name.
    """
    for name in names:
        value, default = getattr(config, name), OPTIONS[f"model.{name}"].default
        if value not in (default, MISSING, []):
            raise UserError(f"model.{name} {why}: leave it out (got {value}).")
