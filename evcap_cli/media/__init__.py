"""Files to frames and sound: probing, decoding in child processes, segments. Knows nothing of models."""
