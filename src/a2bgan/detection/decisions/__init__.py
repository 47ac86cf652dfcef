"""Fit, select, calibrate: which checkpoint, score and thresholds a run stands for."""
