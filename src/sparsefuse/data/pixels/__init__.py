"""Scenes: pictures of several streams with a label or a target picture; from a manifest to batches."""
