"""From next-word scores to captions: batched beam search, and the choice among the beam's best."""
