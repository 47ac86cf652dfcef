"""The reading room: a run's cases in a browser on this machine."""
