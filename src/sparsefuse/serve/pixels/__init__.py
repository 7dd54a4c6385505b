"""A run on pictures behind HTTP: a picture per stream comes in; labels or a picture, and a web page, go out."""
