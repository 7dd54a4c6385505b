"""Scenes in space: clouds, pictures with their cameras, and boxes; from a manifest to batches."""
