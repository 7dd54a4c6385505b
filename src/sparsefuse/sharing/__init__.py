"""Giving a run folder away and getting one: through the Hugging Face hub, or by a folder."""

from sparsefuse.sharing.pull import pull
from sparsefuse.sharing.push import push

__all__ = ["pull", "push"]
