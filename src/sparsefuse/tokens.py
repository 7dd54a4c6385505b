"""The nouns: named streams of tokens or pixels with masks, and the state that layers pass on.

Letters, everywhere:  B batch, M modalities, N tokens, K kept tokens, D width, F raw feature size,
H heads, C classes, S stride. Of pictures: H, W rows and columns of a grid of pixels or tokens.
"""

from typing import NamedTuple

from torch import Tensor


class Tokens(NamedTuple):
    """One stream: tokens and which of them are real."""

    x: Tensor
    """(B, N, D) float; (B, N, F) before the embedding."""
    mask: Tensor
    """(B, N) bool, True = a real token. Inside a mixed-up model it is a float weight in [0, 1]:
    the share of a token that is there (1 = real, 0 = padding)."""


class Batch(NamedTuple):
    """Padded samples. A modality a sample lacks is a row of False in that modality's mask."""

    tokens: dict[str, Tokens]
    labels: Tensor
    """(B,) long for classes, (B, C) float for several labels, (B, heads) long for one class in each of several, (B,)
    float for regression."""
    ids: list[str]


class State(NamedTuple):
    """What one layer passes to the next: the streams by name, and the sum of the layers' penalties.

    Stream names: a modality's own name, `fused`, `bottleneck`, `target<-source` (MulT), `modality<-position`
    (TokenFusion).
    """

    streams: dict[str, Tokens]
    penalty: Tensor
    """() float, added to the loss."""


class Output(NamedTuple):
    """What a model returns: unpack it as `logits, penalty = model(tokens)`."""

    logits: Tensor
    """(B, C) float."""
    penalty: Tensor
    """() float, added to the loss."""


class HeadOutputs(NamedTuple):
    """The logits that training takes a loss of; several where parts of a head learn apart (MBT, TokenFusion)."""

    logits: Tensor
    """(B, V, C) float, for V outputs."""
    weights: Tensor
    """(B, V) each output's share of a sample's loss; 0 where the sample lacks the modality it reads."""
    streams: tuple[str, ...] = ()
    """the modality that each output reads, if under mixup its label is mixed by that modality's share (MBT's modality
    mixup); empty = all have the same label"""


class Field(NamedTuple):
    """One stream of pictures: a grid of pixels, or of tokens, and which of them are real."""

    x: Tensor
    """(B, H, W, D) float; (B, H, W, F) before the first patches."""
    mask: Tensor
    """(B, H, W) bool, True = real. A stream that a sample lacks is all False, as is the padding of a smaller picture,
    which is to the right and below."""

    def tokens(self) -> Tokens:
        """The same, row after row."""
        return Tokens(self.x.flatten(1, 2), self.mask.flatten(1))


class PixelState(NamedTuple):
    """What one layer on pixels passes to the next.

    Stream names: a stream's own name for its current grid, `name@1`, `name@2` ... for what its stages ended with (the
    pyramid that heads read), `fused`.
    """

    streams: dict[str, Field]
    penalty: Tensor
    """() float, added to the loss."""
    tokens: dict[str, Tokens]
    """what the streams share that has no grid: `bottleneck`"""
    exchanged: dict[str, Field]
    """(B, H, W, 1) of 1 where a token was replaced, its mask where one could be; by `name@stage.block`"""
    channels: dict[str, Tensor]
    """() the share of the channels that are a stream's to give up that it did; by `name@stage.block`"""

    def shares(self) -> dict[str, Tensor]:
        """() the share of tokens that each layer replaced in each stream, of those that had a donor."""
        return {name: field.x.sum() / field.mask.sum().clamp_min(1) for name, field in self.exchanged.items()}


class PixelOutput(NamedTuple):
    """What a model on pixels returns."""

    logits: Tensor
    """(B, H, W, C) float, as large as the pictures; in translation the picture itself, from -1 to 1."""
    penalty: Tensor
    """() float, added to the loss."""
    state: PixelState
    """the last one, with the pyramids; `state.shares()` are the shares of tokens that were exchanged"""


class PixelHeadOutputs(NamedTuple):
    """The predictions that training takes a loss of: one, or one per stream and their average."""

    names: tuple[str, ...]
    """(V) the stream that each reads; `ensemble` is the average"""
    logits: Tensor
    """(B, V, H, W, C) float"""
    weights: Tensor
    """(B, V) each prediction's share of a sample's loss; 0 where the sample lacks the stream it reads"""
