"""MulT's future mask against a loop over samples, heads, queries and keys."""

import math

import pytest
import torch

from sparsefuse.layers import ops
from sparsefuse.layers.block import Block, CrossBlock
from sparsefuse.layers.fused import run_blocks
from sparsefuse.tokens import Tokens

CLS = -1  # tokens are numbered from 0


def stream(rows, *, seed):
    """CLS and tokens as rows of 0 and 1, one row a sample."""
    mask = torch.tensor([[any(row), *row] for row in rows], dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    return Tokens(torch.randn(*mask.shape, 6, generator=generator, dtype=torch.float64), mask)


# The third sample's first token is missing, as where a stream begins late; the fourth lacks the source.
TARGET = [[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]]
SOURCE = [[1, 1, 1, 1], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 0, 0]]
LENGTHS = [(6, 4), (2, 3), (4, 4), (3, 0)]


def by_loop(q, k, v, there, sees, num_heads):
    """Attention of one sample, (N, D) of (N, D) and (N', D), one score at a time."""
    width = q.shape[1] // num_heads
    out = torch.zeros_like(q)
    for head in range(num_heads):
        part = slice(head * width, (head + 1) * width)
        for row, query in enumerate(q):
            seen = [column for column in range(len(k)) if there[column] and sees(row - 1, column - 1)]
            scores = [math.exp(float(query[part] @ k[column, part]) / math.sqrt(width)) for column in seen]
            for column, score in zip(seen, scores, strict=True):
                out[row, part] += score / sum(scores) * v[column, part]
    return out


def rest_of(block, x, attended):
    x = x + block.attention.out(attended)
    return x + block.mlp(x)


@torch.no_grad()
def test_a_causal_block_attends_to_itself_and_earlier_tokens_and_only_cls_to_all():
    torch.manual_seed(0)
    block, target = Block(6, 2, causal=True).double().eval(), stream(TARGET, seed=1)
    found = block(target).x
    for sample in range(4):
        x, there = target.x[sample], target.mask[sample]
        q, k, v = block.attention.qkv(block.norm(x)).split(6, 1)
        attended = by_loop(q, k, v, there, lambda i, j: i == CLS or CLS < j <= i, num_heads=2)
        torch.testing.assert_close(found[sample][there], rest_of(block, x, attended)[there])


@torch.no_grad()
def test_a_causal_cross_block_looks_ahead_by_the_difference_of_lengths():
    torch.manual_seed(0)
    block = CrossBlock(6, 2, causal=True).double().eval()
    target, source = stream(TARGET, seed=1), stream(SOURCE, seed=2)
    found = block(target, source).x
    for sample, (length, of_source) in enumerate(LENGTHS):
        x, there = target.x[sample], target.mask[sample]
        q, (k, v) = block.attention.q(block.norm(x)), block.attention.kv(block.norm(source.x[sample])).split(6, 1)
        ahead = abs(length - of_source)
        attended = by_loop(q, k, v, source.mask[sample], lambda i, j, n=ahead: i == CLS or j <= i + n, num_heads=2)
        expected = rest_of(block, x, attended) if of_source else x + block.mlp(x)
        torch.testing.assert_close(found[sample][there], expected[there])


@torch.no_grad()
def test_a_token_that_is_there_by_half_counts_as_half_a_key():
    """As where mixup blends two clips: the second token reads the first, by half, and itself."""
    torch.manual_seed(0)
    block, x = Block(6, 1, causal=True).double().eval(), stream([[1, 1, 1]], seed=1).x
    weights = torch.tensor([[1, 0.5, 1, 1]], dtype=torch.float64)
    q, k, v = block.attention.qkv(block.norm(x[0])).split(6, 1)
    first, second = (weight * (q[2] @ k[j] / 6**0.5).exp() for j, weight in ((1, 0.5), (2, 1.0)))
    attended = (first * v[1] + second * v[2]) / (first + second)
    torch.testing.assert_close(block(Tokens(x, weights)).x[0, 2], rest_of(block, x[0, 2], attended))


@pytest.mark.parametrize("backend", ["auto", "native"])
def test_no_fused_operation_takes_a_causal_block(backend):
    if backend == "native" and (reason := ops.BACKENDS["native"].unavailable()):
        pytest.skip(reason)
    torch.manual_seed(0)
    blocks = [Block(6, 2, causal=True).eval() for _ in range(2)]
    target = stream(TARGET, seed=1)
    target = Tokens(target.x.float(), target.mask)
    with torch.no_grad(), ops.backend(backend):
        found = run_blocks(blocks, target).x
    with torch.no_grad(), ops.backend("torch"):
        assert found.equal(blocks[1](blocks[0](target)).x)


def test_a_mask_by_query_is_refused_for_a_sparse_pattern():
    q = torch.zeros(1, 2, 5, 3)
    with pytest.raises(ValueError, match=r"by query \(1, 5, 5\) needs dense attention; got local"):
        ops.attention(q, q, q, torch.ones(1, 5, 5, dtype=torch.bool), pattern="local", span=2)
