"""Embedding, and attention and blocks with narrow heads, in C++ for processors: built when they are first needed.

Without a compiler the layers run on PyTorch's operations, to the same results up to rounding, and slower.
"""
