"""WHERE it goes: a module's calls one by one, what each costs on paper and what it costs in fact."""
