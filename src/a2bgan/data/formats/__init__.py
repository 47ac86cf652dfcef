"""Read images, by format."""
