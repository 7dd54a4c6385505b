"""Scores on pixels: equal to torchmetrics, over all pixels whatever the batches, blind to what is masked."""

import math

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError

from sparsefuse.metrics.pixels import Confusion, PictureErrors, segmentation_scores, ssim

IGNORE = 255


def labels(*, absent=(), seed=0):
    """Predicted and true classes (4, 9, 7) of 6, some ignored."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.tensor([c for c in range(6) if c not in absent])
    predicted, target = (left[torch.randint(len(left), (4, 9, 7), generator=generator)] for _ in range(2))
    target[torch.rand(4, 9, 7, generator=generator) < 0.2] = IGNORE
    return predicted, target


def pictures(seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = 2 * torch.rand(3, 20, 17, 3, generator=generator) - 1
    made = (target + 0.3 * torch.randn(target.shape, generator=generator)).clamp(-1, 1)
    return made, target, torch.ones(3, 20, 17, dtype=torch.bool)


@pytest.mark.parametrize("absent", [(), (2,), (0, 5)])
def test_segmentation_is_as_in_torchmetrics(absent):
    predicted, target = labels(absent=absent)
    counted = Confusion(6, IGNORE)
    counted.add(predicted, target)
    scores = counted.scores()
    theirs = {
        "miou": MulticlassJaccardIndex(6, ignore_index=IGNORE),
        "macc": MulticlassAccuracy(6, average="macro", ignore_index=IGNORE),
        "pix_acc": MulticlassAccuracy(6, average="micro", ignore_index=IGNORE),
    }
    for name, metric in theirs.items():
        assert scores[name] == pytest.approx(float(metric(predicted, target)), abs=1e-6)
    assert counted.counts.equal(MulticlassConfusionMatrix(6, ignore_index=IGNORE)(predicted, target))


def test_a_class_that_is_only_predicted_counts_as_0_as_in_torchmetrics():
    predicted, target = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 0])
    counted = Confusion(4, IGNORE)
    counted.add(predicted, target)
    # class 0: 1 of 2 true, IoU 1/2; class 1 the same; class 2 never true, 2 predicted; class 3 nowhere
    assert counted.scores(["a", "b", "c", "d"]) == {
        "pix_acc": 0.5,
        "macc": pytest.approx(1 / 3),
        "miou": pytest.approx(1 / 3),
        "iou_a": 0.5,
        "iou_b": 0.5,
        "iou_c": 0.0,
    }
    assert float(MulticlassJaccardIndex(4)(predicted, target)) == pytest.approx(1 / 3)
    assert float(MulticlassAccuracy(4)(predicted, target)) == pytest.approx(1 / 3)


def test_batches_do_not_change_a_score():
    predicted, target = labels()
    whole, parts = Confusion(6, IGNORE), Confusion(6, IGNORE)
    whole.add(predicted, target)
    for one in range(4):
        parts.add(predicted[one], target[one])
    assert whole.counts.equal(parts.counts)


def test_without_a_labelled_pixel_there_is_no_score():
    counted = Confusion(3, IGNORE)
    counted.add(torch.zeros(5, dtype=torch.long), torch.full((5,), IGNORE))
    assert counted.scores(["a", "b", "c"]) == {}
    assert segmentation_scores(torch.zeros(3, 3, dtype=torch.long)) == {}


def test_a_label_out_of_range_is_named():
    with pytest.raises(ValueError, match="a label is 0 to 3; expected 0 to 2, or 255"):
        Confusion(3, IGNORE).add(torch.zeros(2, dtype=torch.long), torch.tensor([0, 3]))


def test_translation_is_as_in_torchmetrics():
    made, target, mask = pictures()
    errors = PictureErrors()
    errors.add(made, target, mask)
    ours = errors.scores()
    theirs = {
        "mae": MeanAbsoluteError(),
        "mse": MeanSquaredError(),
        "psnr": PeakSignalNoiseRatio(data_range=2.0),
        "ssim": StructuralSimilarityIndexMeasure(data_range=2.0),
    }
    channels_first = [x.permute(0, 3, 1, 2).double().contiguous() for x in (made, target)]
    assert ours.keys() == theirs.keys()
    for name, metric in theirs.items():
        assert ours[name] == pytest.approx(float(metric(*channels_first)), rel=1e-5)


def test_pictures_in_batches_of_one_have_the_same_errors():
    made, target, mask = pictures()
    whole, parts = PictureErrors(), PictureErrors()
    whole.add(made, target, mask)
    for i in range(3):
        parts.add(made[i : i + 1], target[i : i + 1], mask[i : i + 1])
    assert whole.scores() == pytest.approx(parts.scores())


def test_what_is_masked_changes_no_error():
    made, target, mask = pictures()
    cut, padded = PictureErrors(), PictureErrors()
    cut.add(made[:, :15, :12], target[:, :15, :12], mask[:, :15, :12])
    mask[:, 15:] = mask[:, :, 12:] = False
    made[:, 15:] = math.nan
    padded.add(made, target, mask)
    assert cut.scores() == pytest.approx(padded.scores())


def test_windows_with_a_masked_pixel_are_left_out():
    made, target, mask = pictures()
    hole = mask[:1].clone()
    hole[0, 4, 3] = False
    changed = made[:1].clone()
    changed[0, 4, 3] = -1
    seen = ssim(changed.double(), target[:1].double(), hole)
    assert float(seen) == pytest.approx(float(ssim(made[:1].double(), target[:1].double(), hole)))
    assert float(seen) != pytest.approx(float(ssim(made[:1].double(), target[:1].double(), mask[:1])))


def test_small_pictures_have_no_ssim_and_perfect_ones_no_psnr():
    made = torch.zeros(1, 5, 30, 1)
    assert ssim(made, made, torch.ones(1, 5, 30, dtype=torch.bool)).isnan().all()
    errors = PictureErrors()
    errors.add(made[:0], made[:0], torch.ones(0, 5, 30, dtype=torch.bool))
    assert errors.scores() == {}
    errors.add(made, made, torch.ones(1, 5, 30, dtype=torch.bool))
    assert errors.scores() == {"mae": 0.0, "mse": 0.0}
