"""A run on pictures in; a file that runs without this library, and its card, out."""
