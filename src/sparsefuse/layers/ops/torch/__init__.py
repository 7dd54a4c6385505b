"""The operations by PyTorch's own."""
