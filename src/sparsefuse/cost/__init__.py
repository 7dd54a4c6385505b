"""What a model costs: counted, measured, and set beside what others cost."""
