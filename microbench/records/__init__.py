"""WHAT WAS FOUND: the record of a round, the store of a run, a run's result, its cases."""
