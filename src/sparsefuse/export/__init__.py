"""Exports a run folder to a file that runs without this library: a checked graph, with a card that describes it."""
