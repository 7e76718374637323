"""What the machine is and what it says of itself: /proc, /sys, control groups, RAPL, NVML."""
