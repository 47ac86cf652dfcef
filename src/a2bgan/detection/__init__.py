"""From a trained method to scores, maps and measures."""
