"""The command line: `main` understands it, and every other module but `session` is a command."""
