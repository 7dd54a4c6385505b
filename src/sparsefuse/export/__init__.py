"""A run folder to a file that runs where this library is not: a graph, checked, with a card that says what it is."""
