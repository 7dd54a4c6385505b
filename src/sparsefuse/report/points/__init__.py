"""Clouds, boxes and what runs say of them in; pictures for pages, notebooks and files out."""
