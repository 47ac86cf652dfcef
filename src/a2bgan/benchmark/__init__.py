"""Methods compared on the same images: runs, tables and figures."""
