"""Sets of generated images, with a known answer."""
