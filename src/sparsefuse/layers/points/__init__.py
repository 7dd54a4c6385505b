"""Layers on point clouds, with the boxes and cameras that belong to them."""
