"""What a backbone promises, as checks that can fail; ``evcap_cli.testing`` is the door that plugin authors use."""
