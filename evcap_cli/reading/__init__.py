"""Reading what people and other programs wrote: text of any usual encoding, and JSON, JSON lines and TOML by type."""
