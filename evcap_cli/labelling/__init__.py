"""Captions of a captioner as a data root to train on."""
