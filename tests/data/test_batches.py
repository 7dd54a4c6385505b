import pytest
import torch

from sparsefuse.data.batches import CHUNK, LengthBuckets, collate
from sparsefuse.data.sample import Sample

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


def test_chances_draw_an_epoch_with_replacement_the_same_again():
    """Two samples of three are never drawn, one always."""
    buckets = LengthBuckets([4, 5, 6], 2, seed=0, shuffle=True, chances=[0.0, 1.0, 0.0])
    assert sorted(len(batch) for batch in buckets.epoch(3)) == [1, 2]
    assert {i for batch in buckets.epoch(3) for i in batch} == {1}
    many = LengthBuckets([1] * 1000, 10, seed=5, shuffle=True, chances=[0.0004] * 500 + [0.0016] * 500)
    drawn = [i for batch in many.epoch(0) for i in batch]
    assert len(drawn) == 1000
    assert 750 < sum(i >= 500 for i in drawn) < 850  # 800, standard deviation 13
    assert many.epoch(0) == many.epoch(0) != many.epoch(1)


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
