"""The energy that calls take, on paper: a model with a few constants, not a measurement."""

from __future__ import annotations

from dataclasses import dataclass

MULTIPLY = {"float64": 18.0, "float32": 4.5, "float16": 1.5, "bfloat16": 1.5, "int8": 0.23}
"""By the number format, pJ of a multiply-accumulate."""

BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "int64": 8, "int32": 4}
WORD = 4  # bytes of an access that the model's constants are for


@dataclass(frozen=True)
class EnergyModel:
    """What operations and accesses are taken to cost, in pJ.

    Attributes:
        multiply: a multiply-accumulate; None for what its number format is taken to cost.
        on_chip: an access to 32 bits in a cache.
        dram: an access to 32 bits in memory.
        hit_rate: the share of accesses that a cache answers.
    """

    multiply: float | None = None
    on_chip: float = 5.0
    dram: float = 640.0
    hit_rate: float = 0.8


def estimate(macc: int, size: int, dtype: str, model: EnergyModel) -> float:
    """The energy in pJ of so many multiply-accumulates in a number format, and of `size` bytes accessed."""
    multiply = MULTIPLY.get(dtype, MULTIPLY["float32"]) if model.multiply is None else model.multiply
    access = model.hit_rate * model.on_chip + (1 - model.hit_rate) * model.dram
    return macc * multiply + size / WORD * access
