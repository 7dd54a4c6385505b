"""A run on clouds in; a file that runs without this library, and its card, out."""
