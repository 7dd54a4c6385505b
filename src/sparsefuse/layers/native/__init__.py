"""Attention with narrow heads in C++, for processors: built by the C++ compiler at hand when it is first needed.

Without a compiler the layers run on PyTorch's operations, to the same results up to rounding, and slower.
"""
