"""`python -m sparsefuse`, as torchrun needs it."""

from sparsefuse.cli import main

main()
