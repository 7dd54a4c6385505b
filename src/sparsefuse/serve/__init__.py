"""A run folder behind HTTP: clips come in, labels go out, and a web page that shows why."""
