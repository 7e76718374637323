"""microbench: how fast does this model or layer train and infer here, and which configuration is fastest?"""

from microbench import startup as _startup  # noqa: F401 - before all that imports something
from microbench.api import Result, compare, load, run, stat, sweep, watch
from microbench.errors import UserError

__all__ = ["Result", "UserError", "compare", "load", "run", "stat", "sweep", "watch"]
