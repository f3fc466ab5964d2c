"""From frames and sound to features: sampling, extraction in batches across videos, object tracks, the cache."""
