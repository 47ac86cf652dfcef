"""Measures of scores, maps and translations."""
