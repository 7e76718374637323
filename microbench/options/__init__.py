"""From arguments to checked cases: Hydra's composition, sweeps, one-line errors."""
