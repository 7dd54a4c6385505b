"""The run folder: what it holds, written and read."""
