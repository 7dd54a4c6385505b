"""The nouns: named streams of tokens with masks, and the state that layers pass on.

Letters, everywhere:  B batch, M modalities, N tokens, K kept tokens, D width, F raw feature size,
H heads, C classes, S stride.
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
