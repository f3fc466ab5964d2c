"""Checkpoints: the folder format, loading that trusts nothing, the hub."""
