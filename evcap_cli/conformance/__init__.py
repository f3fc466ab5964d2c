"""What backbones and captioners promise, as checks that can fail; plugin authors call ``evcap_cli.testing``."""
