"""Pooling against loops over samples, windows and channels."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsefuse.layers.ops.windows import members
from sparsefuse.layers.pool import pool, windows
from sparsefuse.tokens import Tokens


def windows_by_hand(real, keep, stride, padded):
    """Lists of token ranks per window of one sample with `real` tokens."""
    if keep is not None:
        if real <= keep:
            return [[rank] if rank < real else [] for rank in range(keep)]
        edges = [Fraction(j * real, keep) for j in range(keep + 1)]
        return [[r for r in range(real) if edges[j] <= r < edges[j + 1]] for j in range(keep)]
    count = -(-padded // stride)
    return [[r for r in range(j * stride, (j + 1) * stride) if r < real] for j in range(count)]


def by_hand(x, mask, significance, how, keep, stride):
    batch, padded, dim = x.shape
    rows, there = [], []
    for b in range(batch):
        real = [i for i in range(padded) if mask[b, i] > 0]
        for ranks in windows_by_hand(len(real), keep, stride, padded):
            members = [real[r] for r in ranks]
            there.append(max((float(mask[b, i]) for i in members), default=0.0))
            weights = [float(mask[b, i]) * (float(significance[b, i]) if how == "attn" else 1.0) for i in members]
            if not members:
                rows.append(torch.zeros(dim, dtype=x.dtype))
            elif how == "max":
                rows.append(torch.stack([max(x[b, i, d] for i in members) for d in range(dim)]))
            else:
                rows.append(sum(w * x[b, i] for w, i in zip(weights, members, strict=True)) / sum(weights))
    count = len(rows) // batch
    return torch.stack(rows).unflatten(0, (batch, count)), torch.tensor(there, dtype=x.dtype).unflatten(0, (batch, -1))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    how=st.sampled_from(["avg", "max", "attn"]),
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    extra=st.integers(0, 3),
    size=st.integers(1, 6),
    by_keep=st.booleans(),
    fractional=st.booleans(),
    seed=st.integers(0, 99),
)
def test_pooling_equals_a_loop(how, lengths, extra, size, by_keep, fractional, seed):
    generator = torch.Generator().manual_seed(seed)
    padded = max(*lengths, 1) + extra
    x = torch.randn(len(lengths), padded, 2, generator=generator, dtype=torch.float64)
    mask = torch.arange(padded) < torch.tensor(lengths)[:, None]
    if fractional:
        mask = mask * (0.1 + 0.9 * torch.rand(mask.shape, generator=generator, dtype=torch.float64))
    significance = 0.1 + torch.rand(mask.shape, generator=generator, dtype=torch.float64)
    keep, stride = (size, None) if by_keep else (None, size)
    index, count = windows(mask, keep=keep, stride=stride)
    pooled = pool(Tokens(x, mask), index, count, how=how, significance=significance)
    expected, there = by_hand(x, mask, significance, how, keep, stride)
    torch.testing.assert_close(pooled.x, expected)
    assert pooled.mask.dtype == mask.dtype
    torch.testing.assert_close(pooled.mask.double(), there)


def test_average_of_windows_by_stride_by_hand():
    x = torch.tensor([1.0, 3.0, 5.0, 9.0, 100.0]).view(1, 5, 1)
    mask = torch.tensor([[True, True, True, True, False]])
    index, count = windows(mask, stride=3)
    pooled = pool(Tokens(x, mask), index, count, how="avg")
    assert pooled.x.flatten().tolist() == [3.0, 9.0]  # the short last window counts; the released code drops it
    assert pooled.mask.tolist() == [[True, True]]


def test_keep_cuts_the_real_length_not_the_padded_one():
    mask = torch.arange(8) < torch.tensor([[8], [4], [2]])
    index, count = windows(mask, keep=4)
    assert count == 4
    assert index[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert index[1, :4].tolist() == [0, 1, 2, 3]
    assert index[2, :2].tolist() == [0, 1]


def test_the_largest_value_is_taken_per_channel_and_may_be_negative():
    x = torch.tensor([[[-5.0, -1.0], [-2.0, -7.0], [3.0, 3.0]]])
    mask = torch.tensor([[True, True, False]])
    index, count = windows(mask, keep=1)
    assert pool(Tokens(x, mask), index, count, how="max").x.tolist() == [[[-2.0, -1.0]]]


def test_a_token_no_one_attends_to_has_no_say_in_attention_pooling():
    x = torch.tensor([1.0, 50.0, 3.0]).view(1, 3, 1)
    mask = torch.ones(1, 3, dtype=torch.bool)
    index, count = windows(mask, keep=1)
    pooled = pool(Tokens(x, mask), index, count, how="attn", significance=torch.tensor([[3.0, 0.0, 1.0]]))
    assert pooled.x.flatten().tolist() == pytest.approx([(3 * 1 + 1 * 3) / 4])


@pytest.mark.parametrize("keep", [3, 15])
def test_members_are_the_tokens_of_each_window(keep):
    mask = (
        torch.rand(6, 40, generator=torch.Generator().manual_seed(0))
        < torch.tensor([0, 0.1, 0.3, 0.5, 0.9, 1])[:, None]
    )
    index, count = windows(mask, keep=keep)
    expected = (index[:, None] == torch.arange(count)[:, None]) & mask[:, None]
    assert torch.equal(members(mask, keep) & mask[:, None], expected)
    assert expected[5].any(1).all()  # every window has members


@pytest.mark.parametrize("options", [{"keep": 4}, {"keep": 12}, {"stride": 3}, {"stride": 20}], ids=str)
@pytest.mark.parametrize("length", [1, 9, 10])
def test_windows_of_real_tokens_are_counted_once(length, options, monkeypatch):
    mask = torch.ones(2, length, dtype=torch.bool)
    wanted, count = windows(mask.float(), **options)  # a mask of weights is counted every time
    with torch.inference_mode():  # what is kept must serve training later
        windows(mask, **options)
    monkeypatch.setattr("sparsefuse.layers.ops.window_index", None)  # it must not be needed again
    index, got = windows(mask, **options)
    assert index.tolist() == wanted.tolist()
    assert got == count
    x = torch.randn(2, length, 3, requires_grad=True)
    pool(Tokens(x, mask), index, got, how="avg").x.sum().backward()


@pytest.mark.parametrize("options", [{"keep": 4}, {"stride": 3}], ids=str)
def test_windows_of_unreal_tokens_are_not_those_that_are_kept(options):
    mask = torch.ones(1, 9, dtype=torch.bool)
    windows(mask, **options)
    mask[0, :3] = False
    index, _ = windows(mask, **options)
    by_hand = {
        "keep": [0, 0, 1, 2, 2, 3],
        "stride": [0, 0, 0, 1, 1, 1],
    }  # of all nine: 1, 1, 2, 2, 3, 3; 1, 1, 1, 2, 2, 2
    assert index[0, 3:].tolist() == by_hand[next(iter(options))]
