"""What is shared of runs on pictures."""
