"""Occlusion asks the model once per masked part, and each answer is what masking that part alone gives."""

import math

import pytest
import torch

from contract.contract_cases import BASE, case_id, clips, logits_of, model_of
from sparsefuse.explain.occlusion import NUM_RANDOM, _at_random, occlusion, window_of
from sparsefuse.tokens import Tokens

COUNTS = {"rgb": [9], "sound": [40], "flow": [7]}


def first_class(logits):
    return logits.softmax(1)[:, 0]


@pytest.mark.parametrize("base", BASE, ids=case_id)
def test_each_answer_is_what_masking_that_part_alone_gives(base):
    model, batch = model_of(base), clips(COUNTS, extra=2)
    found = occlusion(model, batch, first_class, num_windows=4)
    assert found.whole == pytest.approx(float(first_class(logits_of(model, batch))), abs=1e-6)
    assert found.windows.keys() == set(model.modalities)
    for name in model.modalities:
        length = COUNTS[name][0]
        for window, score in enumerate(found.windows[name].tolist()):
            mask = batch[name].mask.clone()
            mask[0, [n for n in range(length) if n * 4 // length == window]] = False
            alone = logits_of(model, {**batch, name: Tokens(batch[name].x, mask)})
            assert score == pytest.approx(float(first_class(alone)), abs=1e-5)
        if len(model.modalities) > 1:
            rest = {other: t for other, t in batch.items() if other != name}
            assert found.without[name] == pytest.approx(float(first_class(logits_of(model, rest))), abs=1e-5)
            assert found.drop(name) == pytest.approx(found.whole - found.without[name])
        torch.testing.assert_close(found.drops(name), found.whole - found.windows[name])


def test_all_parts_are_one_batch():
    model = model_of(BASE[0])
    asked = []
    hook = model.embed.register_forward_pre_hook(lambda _, args: asked.append(len(args[0]["rgb"].mask)))
    occlusion(model, clips(COUNTS), first_class)
    hook.remove()
    assert asked == [1 + 3 * (1 + NUM_RANDOM) + 9 + 12 + 7]


def test_noise_is_what_masking_at_random_changes():
    """Of a model that reads the mean, and of tokens that are alike, no masking changes anything; of others it does."""
    model = model_of(("concat", {"fusion_depth": 1, "dim": 20, "num_heads": 5}))
    batch = clips({"rgb": [24], "sound": [24]})
    found = occlusion(model, batch, first_class, num_windows=4)
    again = occlusion(model, batch, first_class, num_windows=4)
    assert found.noise == again.noise, "the same draws each time"
    assert found.noise.keys() == {"rgb", "sound"}
    assert all(0 < noise < 1 for noise in found.noise.values())
    steady = occlusion(model, batch, lambda logits: torch.ones(len(logits)), num_windows=4)
    assert steady.noise == {"rgb": 0, "sound": 0}
    tokens = _at_random(torch.tensor([True] * 10 + [False] * 6), 4, torch.Generator().manual_seed(0))
    assert tokens.sum() == 10 - 3, "as many as the largest of four windows of ten tokens has"
    assert not tokens[10:].any()


def test_where_nothing_would_be_left_there_is_no_number():
    model = model_of(("concat", {"fusion_depth": 1, "dim": 20, "num_heads": 5}))
    found = occlusion(model, clips({"sound": [5]}), first_class)
    assert math.isnan(found.without["sound"])
    assert found.windows["sound"].isfinite().all()
    assert occlusion(model, clips({"sound": [1]}), first_class).windows["sound"].isnan().all()


def test_a_missing_modality_is_not_asked_for():
    model = model_of(("concat", {"fusion_depth": 1, "dim": 20, "num_heads": 5}))
    batch = clips({"rgb": [4], "sound": [5], "flow": [0]})
    found = occlusion(model, batch, first_class)
    assert found.without.keys() == found.windows.keys() == {"rgb", "sound"}


def test_windows_are_equal_and_never_more_than_tokens():
    assert window_of(6, 3).tolist() == [0, 0, 1, 1, 2, 2]
    assert window_of(2, 12).tolist() == [0, 1]
    assert window_of(25, 12).bincount().tolist() == [3] + [2] * 11


def test_less_than_one_window_is_an_error():
    with pytest.raises(ValueError, match="num_windows is 0, expected 1 or more"):
        occlusion(model_of(BASE[0]), clips(COUNTS), first_class, num_windows=0)
