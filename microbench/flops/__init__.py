"""What a call costs by its shapes: arithmetic, and bytes read and written.

A subject's file has its formulas and, in `MODULES` and `OPERATORS`, the types and operators that they
hold for; `rules` puts these tables together.
"""

from __future__ import annotations

from microbench.flops.amount import Counts
from microbench.flops.rules import of_function, of_module

__all__ = ["Counts", "of_function", "of_module"]
