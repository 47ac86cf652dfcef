"""Files and folders that are there whole or not at all, and work that keeps its order."""
