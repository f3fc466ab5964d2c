"""Captioning systems that ``evcap train --model`` offers: the paper's, and those it is compared with."""
