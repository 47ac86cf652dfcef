"""The DICOM node: scores what archives and scanners send, and sends them the results."""
