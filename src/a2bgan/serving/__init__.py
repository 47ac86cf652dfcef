"""The reading room, a run's cases in a browser on this machine, and the DICOM node, which scores
what archives and scanners send."""
