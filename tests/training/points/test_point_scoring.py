"""Scores of detectors do not depend on which scenes are scored together."""

import math
from pathlib import Path

import pytest
import torch

import tiny_points
from sparsefuse.data.points.augment import fixed
from sparsefuse.data.points.batches import collate
from sparsefuse.data.points.load import load_clouds
from sparsefuse.layers.points.nouns import Boxes, Cloud
from sparsefuse.layers.points.state import Exchanged, SceneState
from sparsefuse.training.points.scoring import Exchanges, score
from sparsefuse.training.points.train import new_model


@pytest.mark.parametrize("method", ["points", "painted", "late", "tokenfusion"])
def test_scores_are_those_of_scenes_one_by_one(tmp_path: Path, method: str) -> None:
    """Of which the second has no picture, and the last no box."""
    manifest = tiny_points.write_clouds(tmp_path, (4, 1, 1))
    (tmp_path / "boxes/train3.json").write_text("[]")
    config = tiny_points.config(manifest, method)
    scenes = load_clouds(config)
    model, train = new_model(config, scenes).eval(), scenes.splits["train"]
    one, three, all = (score(model, train, scenes.classes, 64, size, each=True) for size in (1, 3, 4))
    assert one.scores.keys() == all.scores.keys()
    for other in (three, all):
        assert other.scores == pytest.approx(one.scores, rel=1e-4, abs=1e-5)
        assert [id for id, _ in other.scenes] == [id for id, _ in one.scenes]
    with torch.no_grad():
        expected = [float(model.losses(model(batch.cloud, batch.pictures, batch.cameras), batch.boxes)["loss"])
                    for batch in (collate([fixed(train[i], 64)]) for i in range(4))]  # fmt: skip
    assert all.scores["loss"] == pytest.approx(sum(expected) / 4, rel=1e-4)


def test_seeds_exchanged_on_objects_are_counted_apart() -> None:
    """Four seeds: two in a box that is turned by a quarter, one just outside, one no picture shows."""
    xyz = torch.tensor([[[1.0, 2.0, 0.5], [1.0, 2.9, 0.5], [1.9, 2.0, 0.5], [1.0, 2.0, 0.6]]])
    seeds = Cloud(xyz, torch.zeros(1, 4, 1), torch.ones(1, 4, dtype=torch.bool))
    box = Boxes(torch.tensor([[[1.0, 2.0, 0.5]]]), torch.tensor([[[2.0, 1.0, 1.0]]]), torch.tensor([[math.pi / 2]]),
                torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool))  # fmt: skip
    exchanged = Exchanged(
        torch.zeros(1, 4), torch.tensor([[False, True, True, False]]), torch.tensor([[True, True, True, False]])
    )
    counts = Exchanges()
    counts.add(SceneState(seeds, seeds.x, seeds, (), None, (exchanged,)), box)
    assert (counts.everywhere, counts.objects) == ({"1": [2.0, 3.0]}, {"1": [1.0, 2.0]})
