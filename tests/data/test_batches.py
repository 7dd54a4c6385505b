import pytest
import torch

from sparsefuse.data.batches import CHUNK, LengthBuckets, collate, hide_modalities, hide_tokens
from sparsefuse.data.sample import Sample
from sparsefuse.tokens import Batch, Tokens

SAMPLES = [
    Sample({"b": torch.full((2, 3), 1.0), "a": torch.full((1, 2), 5.0)}, torch.tensor(1), "p"),
    Sample({"b": torch.full((4, 3), 2.0)}, torch.tensor(0), "q"),
]


def test_padding_is_zero_and_masked():
    batch = collate(SAMPLES, {"b": 3, "a": 2})
    assert list(batch.tokens) == ["a", "b"]
    assert batch.ids == ["p", "q"]
    assert batch.labels.tolist() == [1, 0]
    b = batch.tokens["b"]
    assert b.x[:, :, 0].tolist() == [[1, 1, 0, 0], [2, 2, 2, 2]]
    assert b.mask.tolist() == [[True, True, False, False], [True] * 4]
    assert b.mask.dtype == torch.bool


def test_a_missing_modality_is_all_false():
    batch = collate(SAMPLES, {"a": 2, "b": 3, "c": 7})
    assert batch.tokens["a"].mask.tolist() == [[True], [False]]
    assert batch.tokens["a"].x.tolist() == [[[5, 5]], [[0, 0]]]
    assert batch.tokens["c"].x.shape == (2, 1, 7)
    assert not batch.tokens["c"].mask.any()


LENGTHS = [(37 * i) % 101 for i in range(203)]


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_sample_once_an_epoch(shuffle):
    buckets = LengthBuckets(LENGTHS, 8, seed=0, shuffle=shuffle)
    for epoch in range(3):
        batches = buckets.epoch(epoch)
        assert len(batches) == len(buckets) == 26
        assert sorted(map(len, batches)) == [3] + [8] * 25
        assert sorted(i for batch in batches for i in batch) == list(range(203))


def test_batches_are_a_function_of_seed_and_epoch():
    buckets = LengthBuckets(LENGTHS, 8, seed=0, shuffle=True)
    later = buckets.epoch(2)
    assert buckets.epoch(1) != later
    assert LengthBuckets(LENGTHS, 8, seed=0, shuffle=True).epoch(2) == later
    assert LengthBuckets(LENGTHS, 8, seed=1, shuffle=True).epoch(2) != later


def test_similar_lengths_go_together():
    """Sorted in chunks of 8 batches, a batch spans about an eighth of the range; unsorted it spans nearly all."""
    batches = LengthBuckets(LENGTHS, 8, seed=0, shuffle=True).epoch(0)
    spans = sorted(max(LENGTHS[i] for i in batch) - min(LENGTHS[i] for i in batch) for batch in batches)
    assert CHUNK == 8
    assert spans[len(spans) // 2] < 25


def test_batches_are_not_ordered_by_length():
    batches = LengthBuckets(LENGTHS, 8, seed=0, shuffle=True).epoch(0)
    firsts = [LENGTHS[batch[0]] for batch in batches]
    assert firsts[:8] != sorted(firsts[:8])


@pytest.mark.parametrize("world", [2, 3, 5])
def test_processes_share_the_same_global_batches(world):
    def epoch(rank, world):
        return LengthBuckets(LENGTHS, 8, seed=0, shuffle=True, rank=rank, world=world).epoch(4)

    shares = [epoch(rank, world) for rank in range(world)]
    for whole, *parts in zip(epoch(0, 1), *shares, strict=True):
        assert sorted(i for part in parts for i in part) == sorted(whole)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def batch_of(present):
    """`present` (B, M): two tokens of ones where a modality is present."""
    masks = torch.tensor(present, dtype=torch.bool)
    tokens = {
        name: Tokens(mask[:, None, None].expand(-1, 2, 3).float(), mask[:, None].expand(-1, 2).clone())
        for name, mask in zip("abc", masks.unbind(1), strict=True)
    }
    return Batch(tokens, torch.zeros(len(present)), [str(i) for i in range(len(present))])


def hidden(batch, p, seed=0):
    found = hide_modalities(batch, p, torch.Generator().manual_seed(seed))
    return found, torch.stack([t.mask.any(1) for t in found.tokens.values()], 1)


def test_certain_hiding_leaves_exactly_one_that_was_there():
    present = [[True, True, True], [True, True, False], [False, False, True]] * 50
    found, kept = hidden(batch_of(present), 1.0)
    assert kept.sum(1).tolist() == [1] * 150
    assert not (kept & ~torch.tensor(present)).any()
    assert kept[0::3].any(0).tolist() == [True] * 3  # any of them may be the one
    assert found.tokens["a"].x.sum(dim=(1, 2)).bool().equal(kept[:, 0])


def test_no_hiding_changes_nothing():
    batch = batch_of([[True, False, True]])
    found, _ = hidden(batch, 0.0)
    assert all(torch.equal(found.tokens[n].x, batch.tokens[n].x) for n in batch.tokens)
    assert all(torch.equal(found.tokens[n].mask, batch.tokens[n].mask) for n in batch.tokens)


def test_hiding_has_the_asked_probability():
    """All three are below p with p^3, and then one stays: 0.3 - 0.3^3 / 3 = 0.291 of modalities are hidden."""
    _, kept = hidden(batch_of([[True, True, True]] * 4000), 0.3)
    assert 1 - kept.float().mean().item() == pytest.approx(0.291, abs=0.015)  # 3 sigma of 12,000 draws


def test_hiding_follows_the_generator():
    batch = batch_of([[True, True, True]] * 50)
    assert torch.equal(hidden(batch, 0.5, seed=1)[1], hidden(batch, 0.5, seed=1)[1])
    assert not torch.equal(hidden(batch, 0.5, seed=1)[1], hidden(batch, 0.5, seed=2)[1])


def test_hidden_tokens_are_whole_twelfths_of_the_real_length():
    x = torch.ones(200, 30, 1)
    mask = (torch.arange(30) < 24).expand(200, 30)  # 24 real tokens: twelve spans of two
    batch = Batch({"a": Tokens(x, mask)}, torch.zeros(200), [""] * 200)
    hidden = hide_tokens(batch, 0.3, torch.Generator().manual_seed(0)).tokens["a"]
    assert not hidden.mask[:, 24:].any()
    pairs = hidden.mask[:, :24].unflatten(1, (12, 2))
    assert torch.equal(pairs[..., 0], pairs[..., 1])
    assert pairs.float().mean().item() == pytest.approx(0.7, abs=0.02)  # 2,400 spans: std 0.009
    assert torch.equal(hidden.x[..., 0] == 1, hidden.mask)


def test_hiding_everything_leaves_one_span_of_every_stream_there_is():
    mask = torch.tensor([[True] * 5, [True, False, False, False, False], [False] * 5])
    batch = Batch({"a": Tokens(torch.ones(3, 5, 1), mask)}, torch.zeros(3), ["", "", ""])
    for seed in range(20):
        hidden = hide_tokens(batch, 1.0, torch.Generator().manual_seed(seed)).tokens["a"]
        assert hidden.mask.sum(1).tolist() == [1, 1, 0]
