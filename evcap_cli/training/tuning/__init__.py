"""Training an adapter of a ready-made captioner (``evcap train --model multimodal``): what is only that, not shared."""
