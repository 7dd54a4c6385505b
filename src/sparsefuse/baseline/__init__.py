"""The baseline: statistics of each stream, and logistic regression or extra trees on them."""

from collections.abc import Mapping
from types import MappingProxyType

UNTRAINED: Mapping[str, object] = MappingProxyType(
    {
        "epochs": 1,
        "warmup_epochs": 0.0,
        "precision": "float32",
        "pretrained": "",
        "ema": 0.0,
        "swa": 0.0,
        "best_over": 1,
    }
)
"""fields of `train` in a configuration of the baseline, of which nothing is trained"""
