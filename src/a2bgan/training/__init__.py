"""Losses, methods and the loop that trains them into a run folder."""
