"""From files, or a seed, to arrays of images, ready for training."""
