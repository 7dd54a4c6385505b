"""Grids of runs: methods and seeds, or the values of one option."""
