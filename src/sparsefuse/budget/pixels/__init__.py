"""What is searched of methods on pixels."""
