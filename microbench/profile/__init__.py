"""WHERE it goes: a module's calls one by one, with their costs by their shapes and their times."""
