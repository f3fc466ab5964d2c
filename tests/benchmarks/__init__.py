"""Measurements; freed memory is kept in each of them, what is compared included, as ``evcap`` does."""

from evcap_cli.freed_memory import keep_freed_memory

keep_freed_memory()
