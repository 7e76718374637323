"""WHERE it goes: a module's calls one by one, what each costs by its shapes and what it takes."""
