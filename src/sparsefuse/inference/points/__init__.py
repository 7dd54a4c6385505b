"""A run on clouds and scenes in; boxes, files of them, and scores out."""
