"""Training of models on pictures: a configuration of task segment or translate in, a run folder out."""
