"""Images: from files, or a seed, to arrays that are ready for training."""
