"""Tasks on many processes or machines."""
