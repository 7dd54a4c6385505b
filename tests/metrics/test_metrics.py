"""Losses and scores agree with scikit-learn, or with hand arithmetic where it has none."""

import math
import warnings
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from sparsefuse.metrics import confusion, confusions, losses, per_class_ap, probabilities, scores


def draw(samples: int, classes: int, seed: int, *, ties: bool) -> torch.Tensor:
    """Logits; with `ties`, of a few values only."""
    logits = torch.randn(samples, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ((logits * 2).round() / 2 if ties else logits).float()


def average_precision(positive: np.ndarray, values: np.ndarray) -> float:
    """Sum of precision times the step in recall over falling thresholds, slowly."""
    total, recalled = 0.0, 0.0
    for threshold in sorted(set(values.tolist()), reverse=True):
        chosen = values >= threshold
        hits = int((chosen & positive).sum())
        recall = hits / positive.sum()
        total += (recall - recalled) * hits / chosen.sum()
        recalled = recall
    return total


@given(st.integers(1, 30), st.integers(2, 8), st.integers(0, 999), st.booleans())
@settings(max_examples=40, deadline=None)
def test_scores_of_classes_agree_with_scikit_learn(samples: int, classes: int, seed: int, ties: bool) -> None:
    """Few samples of many classes: some are absent from the labels, some from the predictions."""
    logits = draw(samples, classes, seed, ties=ties)
    labels = torch.randint(0, classes, (samples,), generator=torch.Generator().manual_seed(seed + 1))
    found = scores(logits, labels, "class")
    truth, shares, guess = labels.numpy(), logits.double().softmax(1).numpy(), logits.numpy().argmax(1)
    ap = [sk.average_precision_score(truth == c, logits[:, c].numpy()) for c in sorted(set(truth.tolist()))]
    assert found["loss"] == pytest.approx(sk.log_loss(truth, shares, labels=range(classes)), abs=1e-5)
    assert found["top1"] == pytest.approx(sk.accuracy_score(truth, guess))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(truth, guess, average="macro"), abs=1e-6)
    assert found["map"] == pytest.approx(np.mean(ap), abs=1e-5)
    assert ("top5" in found) == (classes > 5)
    if classes > 5 and not ties:
        assert found["top5"] == pytest.approx(sk.top_k_accuracy_score(truth, shares, k=5, labels=range(classes)))
    assert confusion(logits, labels) == sk.confusion_matrix(truth, guess, labels=range(classes)).tolist()


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 999), st.booleans())
@settings(max_examples=40, deadline=None)
def test_scores_of_several_labels_agree_with_scikit_learn(samples: int, classes: int, seed: int, ties: bool) -> None:
    logits = draw(samples, classes, seed, ties=ties)
    labels = (torch.rand(samples, classes, generator=torch.Generator().manual_seed(seed + 1)) < 0.3).float()
    found = scores(logits, labels, "multilabel")
    truth, shares = labels.numpy().astype(int), logits.double().sigmoid().numpy()
    ap = [average_precision(truth[:, c] > 0, logits[:, c].numpy()) for c in range(classes) if truth[:, c].any()]
    entropy = -(truth * np.log(shares) + (1 - truth) * np.log(1 - shares))
    assert found["loss"] == pytest.approx(entropy.mean(), abs=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f1 = sk.f1_score(truth, shares > 0.5, average="macro") if classes > 1 else sk.f1_score(truth, shares > 0.5)
    assert found["macro_f1"] == pytest.approx(f1, abs=1e-6)
    assert found.get("map") == (pytest.approx(np.mean(ap), abs=1e-5) if ap else None)


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0, 1000.0])
@pytest.mark.parametrize("task", ["class", "multilabel", "heads"])
def test_average_precision_is_that_of_the_logits_at_any_scale(task: str, scale: float) -> None:
    """The released code ranks by a model's outputs; shares, which saturate, would tie what the model tells apart."""
    logits = scale * draw(60, 5, 1, ties=False)
    generator = torch.Generator().manual_seed(2)
    heads = HEADS if task == "heads" else None
    if task == "class":
        labels = torch.randint(0, 5, (60,), generator=generator)
        positive = torch.nn.functional.one_hot(labels, 5)
    elif task == "multilabel":
        positive = labels = (torch.rand(60, 5, generator=generator) < 0.4).float()
    else:
        labels = torch.stack([torch.randint(0, count, (60,), generator=generator) for count in HEADS.values()], 1)
        positive = torch.cat([torch.nn.functional.one_hot(labels[:, i], n) for i, n in enumerate(HEADS.values())], 1)
    expected = [sk.average_precision_score(*pair) for pair in zip(positive.T.numpy(), logits.T.numpy(), strict=True)]
    assert per_class_ap(logits, labels, task, heads=heads) == pytest.approx(expected, abs=1e-12)
    if task != "heads":
        assert scores(logits, labels, task)["map"] == pytest.approx(np.mean(expected), abs=1e-12)


def test_outputs_that_float32_would_tie_are_told_apart() -> None:
    """By hand: of two clips whose outputs differ by 1e-12, the higher one is the class."""
    logits = torch.tensor([[1.0 + 1e-12], [1.0]], dtype=torch.float64)
    assert per_class_ap(logits, torch.tensor([[1.0], [0.0]]), "multilabel") == [1.0]


def test_scores_of_numbers_agree_with_scikit_learn_and_numpy() -> None:
    values = torch.tensor([[0.5], [2.0], [-1.0], [3.5]])
    labels = torch.tensor([1.0, 2.5, -2.0, 3.0])
    found = scores(values, labels, "regression")
    mae = sk.mean_absolute_error(labels, values[:, 0])
    corr = np.corrcoef(labels, values[:, 0])[0, 1]
    assert found == pytest.approx({"loss": mae, "mae": mae, "corr": corr}, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "labels"),
    [([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]), ([1.5], [2.0])],
    ids=["constant predictions", "constant labels", "one sample"],
)
def test_correlation_is_zero_where_it_is_not_defined(values: list[float], labels: list[float]) -> None:
    assert scores(torch.tensor(values)[:, None], torch.tensor(labels), "regression")["corr"] == 0.0


def test_constant_predictions_score_as_chance() -> None:
    """Always class 0, of labels 0 0 1 2: top-1 1/2; F1 2/3, 0, 0; the AP of a class is its share of the samples."""
    logits = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(4, 1)
    found = scores(logits, torch.tensor([0, 0, 1, 2]), "class")
    assert found["top1"] == 0.5
    assert found["macro_f1"] == pytest.approx((2 / 3) / 3)
    assert found["map"] == pytest.approx((1 / 2 + 1 / 4 + 1 / 4) / 3)


def test_classes_without_positives_have_no_ap_and_do_not_count() -> None:
    """Class 1 does not occur. Class 0: hits at ranks 1 and 3 of 3, AP (1 + 2/3) / 2; class 2: rank 1, AP 1."""
    logits = torch.tensor([[2.0, 0.0, -9.0], [-2.0, 0.0, 0.0], [-4.0, 0.0, -9.0]])
    labels = torch.tensor([0, 2, 0])
    assert per_class_ap(logits, labels, "class") == [pytest.approx((1 + 2 / 3) / 2), None, pytest.approx(1.0)]
    assert scores(logits, labels, "class")["map"] == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    several = torch.nn.functional.one_hot(labels, 3).float()
    assert per_class_ap(logits, several, "multilabel")[1] is None


def test_losses_are_per_sample_and_in_float32() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]], dtype=torch.float64)
    found = losses(logits, torch.tensor([1, 0]), "class")
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([math.log(4 / 3), math.log(2)])
    both = losses(logits, torch.tensor([[1.0, 1.0], [0.0, 1.0]]), "multilabel")
    assert both.tolist() == pytest.approx([(math.log(2) + math.log(4 / 3)) / 2, math.log(2)])
    assert losses(torch.tensor([[1.5], [0.0]]), torch.tensor([2.0, -1.0]), "regression").tolist() == [0.5, 1.0]


def test_label_smoothing_spreads_its_share_over_all_classes() -> None:
    """Targets 0.1 / 2 + (0.9, 0): -0.95 log 0.75 - 0.05 log 0.25; other tasks have no such thing."""
    logits = torch.tensor([[math.log(3.0), 0.0]])
    found = losses(logits, torch.tensor([0]), "class", label_smoothing=0.1)
    assert float(found) == pytest.approx(-0.95 * math.log(0.75) - 0.05 * math.log(0.25))
    several = torch.tensor([[1.0, 0.0]])
    assert losses(logits, several, "multilabel", label_smoothing=0.1) == losses(logits, several, "multilabel")


def test_weights_multiply_the_cross_entropy_of_a_sample_by_its_class() -> None:
    """exp(log 3) = 3: shares 1/4 and 3/4; of several labels, absence and presence are weighted."""
    logits = torch.tensor([[0.0, math.log(3.0)]]).repeat(2, 1)
    found = losses(logits, torch.tensor([1, 0]), "class", weights=torch.tensor([10.0, 0.5]))
    assert found.tolist() == pytest.approx([0.5 * math.log(4 / 3), 10 * math.log(4)])
    pair, weights = torch.cat([logits, logits], 1), torch.tensor([10.0, 0.5, 2.0, 4.0])
    found = losses(pair, torch.tensor([[1, 0], [0, 1]]), "heads", heads={"a": 2, "b": 2}, weights=weights)
    one = [0.5 * math.log(4 / 3) + 2 * math.log(4), 10 * math.log(4) + 4 * math.log(4 / 3)]
    assert found.tolist() == pytest.approx([one[0] / 2, one[1] / 2])
    several = torch.tensor([[1.0, 0.0]])
    found = losses(logits[:1], several, "multilabel", weights=torch.tensor([[1.0, 3.0], [5.0, 1.0]]))
    assert float(found) == pytest.approx((5 * math.log(2) + 3 * math.log(4)) / 2)


def test_scores_do_not_change_the_logits_they_are_given() -> None:
    logits, labels = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])
    before = logits.clone()
    scores(logits, labels, "class")
    assert torch.equal(logits, before)


HEADS = {"verb": 3, "noun": 2}


def test_the_loss_of_heads_is_the_mean_of_their_cross_entropies() -> None:
    """By hand: exp(log 2) = 2, so the shares are 2/4, 1/4, 1/4 of verbs and 1/4, 3/4 of nouns."""
    logits = torch.tensor([[math.log(2), 0.0, 0.0, 0.0, math.log(3)]]).repeat(2, 1)
    labels = torch.tensor([[0, 1], [2, 0]])
    plain = [(math.log(2) + math.log(4 / 3)) / 2, (math.log(4) + math.log(4)) / 2]
    assert losses(logits, labels, "heads", heads=HEADS).tolist() == pytest.approx(plain)
    verb = 0.9 * math.log(2) + 0.1 * (math.log(2) + 2 * math.log(4)) / 3  # a tenth spread over the head's own classes
    noun = 0.9 * math.log(4 / 3) + 0.1 * (math.log(4) + math.log(4 / 3)) / 2
    smooth = losses(logits, labels, "heads", heads=HEADS, label_smoothing=0.1)
    assert float(smooth[0]) == pytest.approx((verb + noun) / 2)
    shares = probabilities(logits, "heads", heads=HEADS)
    torch.testing.assert_close(shares[0], torch.tensor([0.5, 0.25, 0.25, 0.25, 0.75]))


@given(st.lists(st.integers(2, 7), min_size=2, max_size=3), st.integers(1, 12), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_top_five_of_heads_are_the_five_largest_products(counts: list[int], samples: int, seed: int) -> None:
    heads = {f"h{i}": count for i, count in enumerate(counts)}
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, sum(counts), generator=generator)
    labels = torch.stack([torch.randint(0, count, (samples,), generator=generator) for count in counts], 1)
    found = scores(logits, labels, "heads", heads=heads)
    ranks, alone = [], {name: [] for name in heads}
    for row, truth in zip(logits.double(), labels.tolist(), strict=True):
        shares = [part.softmax(0).tolist() for part in row.split(counts)]
        products = {
            classes: math.prod(share[c] for share, c in zip(shares, classes, strict=True))
            for classes in product(*map(range, counts))
        }
        ranks.append(sorted(products, key=lambda classes: -products[classes]).index(tuple(truth)))
        for name, share, c in zip(heads, shares, truth, strict=True):
            alone[name].append(sum(other > share[c] for other in share))
    assert found["top1"] == pytest.approx(np.mean([rank == 0 for rank in ranks]))
    assert ("top5" in found) == (math.prod(counts) > 5)
    if "top5" in found:
        assert found["top5"] == pytest.approx(np.mean([rank < 5 for rank in ranks]))
    for name, count in heads.items():
        assert found[f"top1_{name}"] == pytest.approx(np.mean([rank == 0 for rank in alone[name]]))
        assert (f"top5_{name}" in found) == (count > 5)
        if count > 5:
            assert found[f"top5_{name}"] == pytest.approx(np.mean([rank < 5 for rank in alone[name]]))


def test_the_right_pair_may_be_among_five_although_no_head_is_right() -> None:
    """By hand: verb shares 4/7 2/7 1/7, noun shares 3/4 1/4; (1, 1) is fourth with 2/28, after 12, 6 and 4 of 28."""
    logits = torch.tensor([[math.log(4), math.log(2), 0.0, math.log(3), 0.0]])
    found = scores(logits, torch.tensor([[1, 1]]), "heads", heads=HEADS)
    assert (found["top1"], found["top1_verb"], found["top1_noun"], found["top5"]) == (0, 0, 0, 1)
    assert scores(logits, torch.tensor([[2, 1]]), "heads", heads=HEADS)["top5"] == 0, "the sixth, with 1/28"


def test_a_model_that_says_nothing_is_not_right_by_ties() -> None:
    labels = torch.tensor([[verb, noun] for verb in range(3) for noun in range(2)])
    found = scores(torch.zeros(6, 5), labels, "heads", heads=HEADS)
    assert found["top1"] == pytest.approx(1 / 6)
    assert found["top5"] == pytest.approx(5 / 6)


def test_confusion_and_precision_of_heads_are_those_of_each() -> None:
    logits = draw(12, 5, 3, ties=False)
    generator = torch.Generator().manual_seed(4)
    labels = torch.stack([torch.randint(0, count, (12,), generator=generator) for count in HEADS.values()], 1)
    found = confusions(logits, labels, HEADS)
    assert found == {"verb": confusion(logits[:, :3], labels[:, 0]), "noun": confusion(logits[:, 3:], labels[:, 1])}
    each = [per_class_ap(logits[:, :3], labels[:, 0], "class"), per_class_ap(logits[:, 3:], labels[:, 1], "class")]
    assert per_class_ap(logits, labels, "heads", heads=HEADS) == [*each[0], *each[1]]
