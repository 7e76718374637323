"""Fixtures shared with the tests of `flops`."""

from flops.conftest import flops_of

__all__ = ["flops_of"]
