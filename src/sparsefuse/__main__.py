"""`python -m sparsefuse`, as torchrun needs it."""

from sparsefuse.cli.app import main

main()
