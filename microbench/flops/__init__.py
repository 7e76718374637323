"""The costs of a call by its shapes: arithmetic, and bytes read and written.

Each subject's file has its formulas and, in `MODULES` and `OPERATORS`, the types and operators that they
apply to; `rules` merges these tables.
"""

from __future__ import annotations

from microbench.flops.amount import Counts
from microbench.flops.rules import of_function, of_module

__all__ = ["Counts", "of_function", "of_module"]
