"""Shares run folders through the Hugging Face hub or a folder."""

from sparsefuse.sharing.pull import pull
from sparsefuse.sharing.push import push

__all__ = ["pull", "push"]
