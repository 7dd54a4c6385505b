"""A run folder and clips in, predictions, timelines and scores out."""
