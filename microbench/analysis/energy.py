"""A model of energy: the assumed cost of arithmetic and memory accesses. It measures nothing."""

from __future__ import annotations

from microbench.config import EnergyConfig

ACCESS = 4  # bytes that one access moves

FP32 = 4.5
MULTIPLY = {
    "float64": FP32 * (53 / 24) ** 2,
    "float32": FP32,
    "float16": 1.1 + 0.4,
    "bfloat16": 1.1 + 0.4,
    "int32": 3.1 + 0.1,
    "int8": 0.2 + 0.1,
    "uint8": 0.2 + 0.1,
}
"""Energy of a multiply-accumulate in pJ, by number format; any other format counts as fp32.

A multiplication and an addition at 45 nm and 0.9 V, from Horowitz, 1.1 Computing's Energy Problem (and what
we can do about it), ISSCC 2014: 1.1 and 0.4 pJ in fp16, 3.1 and 0.1 in int32, 0.2 in int8, whose sums are in
int32. In fp32 these are 3.7 and 0.9; RASP's published tables use 4.5. Horowitz has neither bf16, which counts
as fp16 (its multiplier is smaller), nor fp64, which is scaled from fp32 by the square of the significand's
width, like the number of cells of a multiplier.
"""


def estimate(macc: int, mem_rw: int, dtype: str, model: EnergyConfig) -> float:
    """Return the energy of a call by the model, in pJ: macc · multiply + mem_rw / 4 · access.

    Accesses are counted by bytes: an element of 16 bits is half an access, one of 64 bits two.

    Args:
        macc: its multiply-accumulates.
        mem_rw: the bytes that it reads and writes.
        dtype: the number format that it computes in, such as `float32`.
        model: the costs. Its costs of accesses are from Han, Pool, Tran, Dally, Learning both Weights and
            Connections for Efficient Neural Networks (NeurIPS 2015), at 45 nm: 5 pJ for 32 bits of SRAM,
            640 pJ for 32 bits of DRAM.
    """
    multiply = MULTIPLY.get(dtype, FP32) if model.multiply is None else model.multiply
    access = model.hit_rate * model.on_chip + (1 - model.hit_rate) * model.dram
    return macc * multiply + mem_rw / ACCESS * access
