"""The demo world: facts, captions, pictures and sound made by us, and the bundled checkpoint."""
