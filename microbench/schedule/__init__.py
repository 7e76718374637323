"""WHO runs WHEN: cases, worker processes, timeouts. No torch in this process, unless a case runs inline."""
