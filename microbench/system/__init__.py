"""The machine and what it reports: /proc, /sys, control groups, RAPL, NVML."""
