"""What a process used, what a machine is. No torch: what torch knows, the devices tell."""
