"""Distances of a translation: what the network is shown, when there are scores, and what is said without it."""

import logging

import pytest
import torch

import tiny_pixels
from sparsefuse.features import _seen as seen
from sparsefuse.features._packaged import PACKAGED
from sparsefuse.inference.evaluate import evaluate
from sparsefuse.metrics.distances import frechet_distance, kernel_distance
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result
from sparsefuse.training.pixels import distances as module
from sparsefuse.training.pixels.distances import Distances, distances_of
from sparsefuse.training.train import train

CPU = torch.device("cpu")
installed = pytest.mark.skipif(PACKAGED[seen.NET].path is None, reason="needs the extra encoders")


class Means:
    """Three means of a picture, and keeps what it is shown."""

    def __init__(self):
        self.pictures = []

    def __call__(self, pictures):
        self.pictures += pictures
        return torch.stack([torch.from_numpy(picture).float().mean((0, 1)) for picture in pictures])


def drawn(n, *, channels=3, seed=0):
    return 2 * torch.rand(n, 4, 5, channels, generator=torch.Generator().manual_seed(seed)) - 1


def test_a_network_is_shown_pictures_as_a_png_has_them_without_padding():
    kept, picture, mask = Distances(Means()), torch.zeros(1, 3, 4, 1), torch.ones(1, 3, 4, dtype=torch.bool)
    picture[0, 0] = torch.tensor([[-1.0], [-0.5], [1.0], [7.0]])
    mask[:, 2] = mask[:, :, 3] = mask[0, 1, 0] = False  # padding below and right, and a hole
    picture[0, 1, 0] = 9.0
    kept.add(picture, -picture, mask)
    made, real = kept.seen.pictures
    assert made.shape == (2, 3, 3)
    assert made[..., 0].tolist() == made[..., 2].tolist() == [[0, 64, 255], [128, 128, 128]]
    assert real[..., 0].tolist() == [[255, 191, 0], [128, 128, 128]]


def test_scores_are_of_all_batches_and_name_the_network():
    kept, made, real = Distances(Means()), drawn(6), drawn(6, seed=1)
    mask = torch.ones(6, 4, 5, dtype=torch.bool)
    mask[5] = False  # nothing of it is known
    kept.add(made[:4], real[:4], mask[:4])
    kept.add(made[4:], real[4:], mask[4:])
    kept.add(made[5:], real[5:], mask[5:])
    one, other = torch.cat(kept.made), torch.cat(kept.real)
    assert len(one) == len(other) == 5
    assert kept.scores() == {
        "kernel_efficientnet-lite0": kernel_distance(one, other),
        "frechet_efficientnet-lite0": frechet_distance(one, other),
        "halves_kernel_efficientnet-lite0": kernel_distance(other[[0, 2, 4]], other[[1, 3]]),
        "halves_frechet_efficientnet-lite0": frechet_distance(other[[0, 2, 4]], other[[1, 3]]),
    }


def test_three_pictures_have_no_distance():
    kept = Distances(Means())
    kept.add(drawn(3), drawn(3), torch.ones(3, 4, 5, dtype=torch.bool))
    assert kept.scores() == {}


def test_without_the_package_a_line_says_how_to_get_it(monkeypatch, caplog):
    class Absent:
        path, distribution, install, kind = None, "some-net", "pip install some-net", "vision"

    monkeypatch.setitem(PACKAGED, seen.NET, Absent)
    with caplog.at_level(logging.INFO):
        assert distances_of(3, CPU) is None
    assert caplog.messages == [
        "no kernel or Frechet distance, which are of features of efficientnet-lite0; to have them: pip install some-net"
    ]


def test_pictures_of_two_channels_have_none(caplog):
    with caplog.at_level(logging.INFO):
        assert distances_of(2, CPU) is None
    assert "pictures have 2 channels" in caplog.messages[0]


@pytest.mark.slow
@installed
def test_the_network_tells_blurred_pictures_from_sharp_ones():
    kept = distances_of(1, CPU)
    assert kept is not None
    sharp = drawn(10, channels=1).repeat_interleave(4, 1).repeat_interleave(4, 2)
    blurred = sharp.unfold(1, 4, 4).mean(-1).repeat_interleave(4, 1) / 2
    kept.add(blurred, sharp, torch.ones(10, 16, 20, dtype=torch.bool))
    assert torch.cat(kept.made).shape == (10, 1280)
    scores = kept.scores()
    assert scores["kernel_efficientnet-lite0"] > 3 * abs(scores["halves_kernel_efficientnet-lite0"])


def test_a_run_has_distances_of_its_test_split_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "Seen", lambda device: Means())
    manifest = tiny_pixels.write_scenes(tmp_path / "scenes", (6, 4, 5))
    config = tiny_pixels.config(manifest, "early", task="translate", train={"epochs": 1})
    folder = RunFolder(train(config, tmp_path / "run", measured=False, shown=False))
    result, kernel = folder.read(Result), "kernel_efficientnet-lite0"
    assert kernel in result.test
    assert kernel not in result.valid
    assert not any("kernel" in name for name in folder.epochs()[-1].scores)
    assert evaluate(folder.path)[kernel] == pytest.approx(result.test[kernel], rel=1e-6)
    assert kernel in evaluate(folder.path, split="valid")
