"""Watching nn.Module calls, leaving a module as it was, fake tensors, and the tensors in a value."""
