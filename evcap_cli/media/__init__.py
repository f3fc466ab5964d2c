"""Files to frames and sound: probing, decoding in child processes, segments. Does not depend on models."""
