"""Word vectors: what is measured of them, and files that other tools read."""
