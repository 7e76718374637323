"""HOW PRECISELY: sampling, stopping rule, warm-up and warnings. Pure: no torch."""
