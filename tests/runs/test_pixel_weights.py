"""Weights of a run on pictures: read as written; whatever model.json says, nothing large is built."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from runs.test_pixel_facts import FACTS
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.pixel_weights import build_pixel_model, load_pixel_model, write_pixel_weights

STATS = {name: (torch.rand(width), torch.rand(width) + 0.5) for name, width in FACTS.channels.items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    folder.write(FACTS)
    torch.manual_seed(0)
    write_pixel_weights(folder, build_pixel_model(FACTS), STATS, {"epoch": 1})
    return folder


def test_a_model_is_read_as_it_was_written(written: RunFolder) -> None:
    torch.manual_seed(0)
    mine = build_pixel_model(FACTS).state_dict()
    facts, model, stats = load_pixel_model(written)
    assert facts == FACTS
    assert all(torch.equal(mine[name], tensor) for name, tensor in model.state_dict().items())
    for name, (mean, deviation) in STATS.items():
        assert torch.equal(stats[name][0], mean)
        assert torch.equal(stats[name][1], deviation)


HUGE = {"dims": [2**20] * 3, "depths": [2] * 3, "num_heads": [1] * 3, "reductions": [1] * 3, "patches": [[7, 4]] * 3}


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (replace(FACTS, method="concat"), "does not hold the model that model.json describes"),
        (replace(FACTS, options={"size": "b0"}), "does not hold the model that model.json describes"),
        (replace(FACTS, options={"size": HUGE}), "does not hold the model that model.json describes"),
        (replace(FACTS, options={"size": {**HUGE, "depths": [10**9] * 3}}), "a depth is 1000000000; expected 1 to"),
        (replace(FACTS, options={"size": {**HUGE, "depths": [1000] * 3}}), "far more"),
        (replace(FACTS, options={"size": {"dims": 3}}), "does not describe a model that can be built"),
        (replace(FACTS, options={"shared": {}}), "does not describe a model that can be built"),
        (replace(FACTS, method="../late"), "does not describe a model that can be built: unknown method on pixels"),
        (replace(FACTS, classes=["a", "b", "c"], outputs=3), "does not hold the model"),
        (replace(FACTS, size=(16_384, 16_384)), "one scene would cost .* GMACs; expected 10,000 at most"),
    ],
)  # fmt: skip
def test_a_hostile_description_is_refused(written: RunFolder, tmp_path: Path, facts: PixelFacts, why: str) -> None:
    folder = RunFolder(tmp_path)
    folder.write(facts)
    folder.weights.symlink_to(written.weights)
    with pytest.raises(ValueError, match=why):
        load_pixel_model(folder)
