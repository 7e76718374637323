"""WHAT WAS FOUND: the record's schema, the store on disk, and a run's result."""
