"""Servers of a run: the reading room and the DICOM node."""
