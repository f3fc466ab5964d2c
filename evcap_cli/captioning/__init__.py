"""The caption run: plan and checkpoint in, one record a video out, in the plan's order."""
