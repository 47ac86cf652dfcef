"""Checks of what a model follows, and of what it is shown."""
