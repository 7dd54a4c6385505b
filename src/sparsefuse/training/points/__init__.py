"""Training on clouds: a configuration of task detect in, a run folder out."""
