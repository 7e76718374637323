"""The YAML files of the options, one a file, that Hydra composes a configuration from."""
