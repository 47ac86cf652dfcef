"""Scores, maps and measures from trained methods."""

RATE = 0.05
"""Share of healthy patients flagged, and of healthy images with a contour, at most and on average;
commands take another for patients with --fpr."""
