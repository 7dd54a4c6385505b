"""Which keys a block of queries attends to: linear maps from a stream to groups of queries and of keys, and back.

Tokens come last, (B, H, D/H, N): matrix products with N innermost take a third of the time of products with the head
dimension innermost. A stream is CLS and N tokens, cut into G blocks of l; a group holds n = B H G blocks (or residues)
of L queries, S keys each. `join` and `spread` are the transposes of `cut` and `gather`, that is, their backward.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse.layers.ops.windows import MEANS, means, num_windows

EXPRESSIVITY = 8
"""c of the fixed pattern, as released."""
# Finite, so that a row without any visible key (a missing modality) stays finite in every kernel; far enough
# below any score that its weight is 0 where at least one key is visible.
MASKED = -1e4


def key_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(..., N) mask or weights -> (..., N) log-weights to add to the scores; `MASKED` for padding."""
    return mask.to(torch.promote_types(dtype, torch.float32)).log().clamp_min(MASKED).to(dtype)


class Group(ABC):
    """Queries that share their keys."""

    size: int
    """S, the number of keys of a group"""
    unseen: Tensor | None = None
    """(L, S): `MASKED` where a query does not attend to a key of its group"""

    def __init__(self, length: int, span: int):
        self.length, self.span, self.count = length, span, num_windows(length, span)

    def bias(self, heads: int) -> Tensor:
        """(n, L or 1, S) added to the scores: log-weights of the keys, `MASKED` for pairs out of the pattern."""
        bias = self.logs()[:, None].expand(-1, heads, -1, -1).flatten(0, 2)[:, None]
        return bias if self.unseen is None else bias + self.unseen

    @abstractmethod
    def logs(self) -> Tensor:
        """(B, G, S) log-weights of the keys, `MASKED` for padding."""

    @abstractmethod
    def cut(self, x: Tensor) -> Tensor:
        """(B, H, D/H, N) -> (n, D/H, L)."""

    @abstractmethod
    def join(self, x: Tensor, heads: int) -> Tensor:
        """(n, D/H, L) -> (B, H, D/H, N)."""

    @abstractmethod
    def gather(self, x: Tensor) -> Tensor:
        """(B, H, D/H, 1 + N) -> (n, D/H, S)."""

    @abstractmethod
    def spread(self, x: Tensor, heads: int) -> Tensor:
        """(n, D/H, S) -> (B, H, D/H, 1 + N)."""

    @abstractmethod
    def by_block(self, scores: Tensor, heads: int) -> Tensor:
        """(n, L, S) -> (B, H, G, l, S)."""

    @abstractmethod
    def by_group(self, scores: Tensor) -> Tensor:
        """(B, H, G, l, S) -> (n, L, S)."""

    def _blocks(self, x: Tensor) -> Tensor:
        """(B, H, D/H, N) -> (B, H, D/H, G, l), the last block padded."""
        return F.pad(x, (0, self.count * self.span - self.length)).unflatten(3, (self.count, self.span))

    def _tokens(self, blocks: Tensor) -> Tensor:
        """(B, G, l, H, D/H) -> (B, H, D/H, N)."""
        return blocks.flatten(1, 2)[:, : self.length].permute(0, 2, 3, 1)


class Window(Group):
    """Queries by blocks; their keys are CLS, keys that all blocks share, and `pieces` l tokens around the block."""

    def __init__(self, mask: Tensor, span: int, pieces: int, shared: int = 0):
        super().__init__(mask.shape[1] - 1, span)
        self.pieces = pieces
        self.before = (pieces - 1) * span // 2  # tokens before the block, and after it, that are keys
        self.mask, self.size = mask, 1 + shared + pieces * span

    def logs(self) -> Tensor:
        return key_bias(self.weights(self.mask.to(torch.float32)), torch.float32)

    def weights(self, mask: Tensor) -> Tensor:
        """The mask (B, 1 + N) as weights of the keys (B, G, S)."""
        return self.gather(mask[:, None, None]).unflatten(0, (-1, self.count))[:, :, 0]

    def shared(self, tokens: Tensor) -> Tensor:
        """Keys that all blocks share: (B, H, D/H, N) -> (B, H, D/H, any)."""
        return tokens[..., :0]

    def unshared(self, x: Tensor) -> Tensor:
        """The transpose of `shared`, (B, H, D/H, any) -> (B, H, D/H, N) or a shape that broadcasts to it."""
        return x.sum(-1, keepdim=True)

    def cut(self, x: Tensor) -> Tensor:
        return self._blocks(x).transpose(2, 3).flatten(0, 2)

    def join(self, x: Tensor, heads: int) -> Tensor:
        return self._tokens(x.unflatten(0, (-1, heads, self.count)).permute(0, 2, 4, 1, 3))

    def gather(self, x: Tensor) -> Tensor:
        cls, tokens = x.split([1, self.length], -1)
        shared = torch.cat([cls, self.shared(tokens)], -1)[:, :, None].expand(-1, -1, self.count, -1, -1)
        end = self.count * self.span - self.length
        around = F.pad(tokens, (self.before, self.before + end))
        around = around.unflatten(3, (-1, self.span)).transpose(2, 3)  # (B, H, G + pieces - 1, D/H, l)
        near = (around.narrow(2, i, self.count) for i in range(self.pieces))
        return torch.cat([shared, *near], -1).flatten(0, 2)

    def spread(self, x: Tensor, heads: int) -> Tensor:
        x = x.unflatten(0, (-1, heads, self.count))
        near = self.pieces * self.span
        shared, near = x.split([x.shape[-1] - near, near], -1)
        around = x.new_zeros(*x.shape[:2], self.count + self.pieces - 1, x.shape[3], self.span)
        for i, piece in enumerate(near.split(self.span, -1)):
            around.narrow(2, i, self.count).add_(piece)
        tokens = around.transpose(2, 3).flatten(3)[..., self.before : self.before + self.length]
        cls, others = shared.sum(2).split([1, shared.shape[-1] - 1], -1)
        return torch.cat([cls, tokens + self.unshared(others)], -1)

    def by_block(self, scores: Tensor, heads: int) -> Tensor:
        return scores.unflatten(0, (-1, heads, self.count))

    def by_group(self, scores: Tensor) -> Tensor:
        return scores.flatten(0, 2)


class Near(Window):
    """The strided pattern's neighbourhood: |i - j| < l."""

    def __init__(self, mask: Tensor, span: int):
        super().__init__(mask, span, pieces=3)
        place = torch.arange(3 * span, device=mask.device) - span - torch.arange(span, device=mask.device)[:, None]
        self.unseen = F.pad((place.abs() >= span) * MASKED, (1, 0))  # all queries attend to CLS


class Local(Window):
    """The local pattern: l / 2 tokens either side of the block, and means of `MEANS` windows of the clip."""

    def __init__(self, mask: Tensor, span: int):
        self.share, self.of_means = means(mask, span)
        super().__init__(mask, span, pieces=2, shared=MEANS)

    def logs(self) -> Tensor:
        logs = super().logs()
        logs[:, :, 1 : 1 + MEANS] = key_bias(self.of_means, torch.float32)[:, None]
        return logs

    def shared(self, tokens: Tensor) -> Tensor:
        rows = tokens.permute(0, 3, 1, 2).flatten(2)  # (B, N, D), their order in memory
        return (self.share.to(tokens.dtype) @ rows).unflatten(2, tokens.shape[1:3]).permute(0, 2, 3, 1)

    def unshared(self, x: Tensor) -> Tensor:
        return (x.flatten(1, 2) @ self.share.to(x.dtype)).unflatten(1, x.shape[1:3])


class Fixed(Window):
    """The fixed pattern: the block, and the last c + 1 tokens of every other."""

    def __init__(self, mask: Tensor, span: int):
        self.tail = min(EXPRESSIVITY + 1, span)
        super().__init__(mask, span, pieces=1, shared=num_windows(mask.shape[1] - 1, span) * self.tail)

    def weights(self, mask: Tensor) -> Tensor:
        return super().weights(mask) * self._others(mask)

    def _others(self, like: Tensor) -> Tensor:
        """(G, S): 0 for the tail of the block itself, which is among its keys already."""
        groups = torch.arange(self.count, device=like.device)
        tails = groups[:, None] != groups.repeat_interleave(self.tail)
        return F.pad(tails.to(like.dtype), (1, self.span), value=1.0)

    def shared(self, tokens: Tensor) -> Tensor:
        return self._blocks(tokens)[..., self.span - self.tail :].flatten(3)

    def unshared(self, x: Tensor) -> Tensor:
        tails = F.pad(x.unflatten(3, (self.count, self.tail)), (self.span - self.tail, 0))
        return tails.flatten(3)[..., : self.length]


class Residue(Group):
    """The strided pattern's distant tokens: those whose positions differ by a multiple of l. n = B H l, L = S = G."""

    def __init__(self, mask: Tensor, span: int):
        super().__init__(mask.shape[1] - 1, span)
        self.mask, self.size = mask, self.count
        self.unseen = torch.eye(self.count, device=mask.device) * MASKED  # a token itself is in `Near` already

    def logs(self) -> Tensor:
        weights = self.cut(self.mask[:, None, None, 1:].to(torch.float32)).unflatten(0, (-1, self.span))
        return key_bias(weights[:, :, 0], torch.float32)  # (B, l, G)

    def cut(self, x: Tensor) -> Tensor:
        return self._blocks(x).permute(0, 1, 4, 2, 3).flatten(0, 2)

    def join(self, x: Tensor, heads: int) -> Tensor:
        return self._tokens(x.unflatten(0, (-1, heads, self.span)).permute(0, 4, 2, 1, 3))

    def gather(self, x: Tensor) -> Tensor:
        return self.cut(x[..., 1:])

    def spread(self, x: Tensor, heads: int) -> Tensor:
        return F.pad(self.join(x, heads), (1, 0))

    def by_block(self, scores: Tensor, heads: int) -> Tensor:
        return scores.unflatten(0, (-1, heads, self.span)).transpose(2, 3)

    def by_group(self, scores: Tensor) -> Tensor:
        return scores.transpose(2, 3).flatten(0, 2)
