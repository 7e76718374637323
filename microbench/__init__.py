"""microbench: how fast does this model or layer train and infer here, and which way is fastest?"""

from microbench.api import run, sweep
from microbench.errors import UserError
from microbench.results.result import Result, load

__all__ = ["Result", "UserError", "load", "run", "sweep"]
