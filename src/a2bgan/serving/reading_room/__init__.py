"""The reading room: a run's cases in a browser, and the verdicts of who reads them."""
