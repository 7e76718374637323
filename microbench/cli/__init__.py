"""The command line: `main` parses it, and every other module except `session` is a command."""
