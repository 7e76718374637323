"""What the command line does besides measuring: one module a verb, each with `main(arguments) -> int`."""
