"""The seam for speed: what is computed here has more than one implementation, and nothing else has."""
