"""How a batch is degraded."""

from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from sparsefuse.study import robustness
from sparsefuse.study.robustness import degrade
from sparsefuse.tokens import Tokens
from sparsefuse.training.train import train


def test_a_clip_that_has_nothing_else_keeps_the_modality_that_others_lose():
    there = torch.tensor([[True, True], [True, False], [False, False]])
    tokens = {"a": Tokens(torch.ones(3, 2, 4), there), "b": Tokens(torch.ones(3, 1, 3), there[[0, 2, 0], :1])}
    worse = degrade(tokens, "a", "missing", 1.0, torch.Generator())
    assert worse["a"].mask.tolist() == [[False, False], [True, False], [False, False]]
    assert worse["a"].x.sum((1, 2)).tolist() == [0, 4, 0]
    assert worse["b"] == tokens["b"]


@pytest.mark.parametrize("normalise", [True, False])
def test_noise_is_in_standard_deviations_of_the_training_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, normalise: bool
) -> None:
    """What is added at level 1, divided by the same draw: 1 where features are normalised, else by hand."""
    manifest = tiny.write_set(tmp_path / "data")
    run = tmp_path / "run"
    train(
        tiny.with_data(tiny.config(manifest, "late", epochs=1), normalise=normalise, max_length=3), run, measured=False
    )
    clean = {name: Tokens(torch.zeros(1, 2, width), torch.ones(1, 2).bool()) for name, width in tiny.FEATURES.items()}
    seen = []

    def outputs(opened, change=lambda tokens: tokens):
        seen.append(change(clean)["rgb"].x)
        return torch.zeros(4, 3), torch.zeros(4)

    monkeypatch.setattr(robustness, "outputs", outputs)
    robustness.curves(run)
    added = seen[2]  # after the clean clips, and 0.5
    unit = torch.randn(1, 2, tiny.FEATURES["rgb"], generator=torch.Generator().manual_seed(0))
    files = sorted((tmp_path / "data/features").glob("train*-rgb.npy"))
    expected = np.concatenate([np.load(file)[:3] for file in files]).std(0)
    torch.testing.assert_close(
        added / unit, torch.from_numpy(np.ones(5) if normalise else expected).float().expand(1, 2, 5)
    )
