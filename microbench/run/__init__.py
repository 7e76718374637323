"""WHO runs when: the rounds of a run's cases, each in a worker of its own."""
