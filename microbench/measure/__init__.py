"""HOW PRECISELY: what to sample, when to stop, and what the samples say. Pure: no torch."""
