"""Recipes: how to train on few clips, or on many; settings that a user has not made."""

from collections.abc import Mapping
from typing import Any, Literal

Recipe = Literal["auto", "paper", "small", "large"]

SETTINGS: Mapping[str, dict[str, Any]] = {
    "auto": {},
    "paper": {},
    "small": {
        "data": {"noise": 0.2, "modality_dropout": 0.15},
        "train": {"epochs": 60, "lr": 2e-3, "weight_decay": 0.2, "ema": 0.98},
    },
    "large": {
        "train": {
            "schedule": "cosine",
            "warmup_epochs": 0.5,
            "weight_decay": 0.05,
            "label_smoothing": 0.1,
            "ema": 0.999,
        },
    },
}
"""recipe -> what it sets, by section; auto and paper: nothing, the defaults are the paper's"""
