"""HOW IT IS SHOWN: what a terminal shows while and after measuring. Sees `results` only."""
