"""Fixtures that the tests of `flops` have too."""

from flops.conftest import flops_of

__all__ = ["flops_of"]
