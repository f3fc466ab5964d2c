"""Captioning systems that ``evcap train --model`` offers beside the paper's."""
