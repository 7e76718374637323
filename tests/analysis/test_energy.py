from __future__ import annotations

import csv
from importlib.resources import files

import pytest

from microbench.analysis.energy import estimate
from microbench.config import EnergyConfig

MODEL = EnergyConfig()


def test_arithmetic_costs_per_operation_and_memory_per_32_bits() -> None:
    assert estimate(1000, 0, "float32", MODEL) == pytest.approx(4500)
    assert estimate(0, 4, "float32", EnergyConfig(hit_rate=1.0)) == 5.0
    assert estimate(0, 4, "float32", EnergyConfig(hit_rate=0.0)) == 640.0
    assert estimate(0, 4000, "float32", MODEL) == pytest.approx(1000 * (0.8 * 5 + 0.2 * 640))
    assert estimate(1000, 4000, "float32", MODEL) == pytest.approx(4500 + 132_000)
    assert estimate(0, 0, "float32", MODEL) == 0.0


def rows(table: str) -> list[dict[str, str]]:
    text = (files("microbench.reference") / f"{table}.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


def test_a_published_energy_is_reproduced_from_its_tables_own_counts() -> None:
    published = {
        row["quantity"]: float(row["value"])
        for row in rows("rasp_torchvision_cpu")
        if row["workload"] == "mobilenet_v2"
    }
    mem_rw = sum(int(row["mem_rw"]) for row in rows("rasp_mobilenet_v2_layers"))
    macc = int(published["flops"])  # that is the column's name
    assert estimate(macc, mem_rw, "float32", MODEL) == pytest.approx(published["energy"], rel=1e-3)


@pytest.mark.parametrize(
    ("dtype", "multiply"),
    [("float16", 1.5), ("bfloat16", 1.5), ("int8", 0.3), ("int32", 3.2), ("float32", 4.5), ("bool", 4.5)],
)
def test_each_number_format_has_its_cost(dtype: str, multiply: float) -> None:
    assert estimate(1000, 0, dtype, MODEL) == pytest.approx(1000 * multiply)


def test_twice_the_width_costs_more_than_twice_as_much() -> None:
    assert estimate(1, 0, "float64", MODEL) > 4 * estimate(1, 0, "float32", MODEL)


def test_every_constant_can_be_changed() -> None:
    model = EnergyConfig(multiply=2.0, on_chip=10.0, dram=100.0, hit_rate=0.5)
    assert estimate(3, 8, "float32", model) == 3 * 2.0 + 2 * 55.0
    assert estimate(3, 8, "bfloat16", model) == estimate(3, 8, "float32", model)
    assert estimate(3, 0, "float32", EnergyConfig(multiply=0.0)) == 0.0
