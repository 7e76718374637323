"""The command line: `main` parses it, and every other module not in `NO_COMMANDS` is a command."""
