"""A run folder of a model on pixels and pictures in; labels or pictures, and scores, out."""
