"""Preprocessed images, decoded once."""
