"""Adapting a trained model to one user's few clips, where they are: a run folder and a manifest in, a new run out."""

from sparsefuse.finetune.adapt import finetune
from sparsefuse.finetune.settings import Settings

__all__ = ["Settings", "finetune"]
