"""From arguments to checked cases: Hydra's composition, sweeps, errors of one line."""
