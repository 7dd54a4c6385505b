"""TokenFusion on pixels: tokens of low importance are replaced by another stream's of that place (Wang et al. 2022).

    each stream:  patches -> blocks over [own tokens that score high | others' in place of the rest] ... -> own pyramid
                                                    |  at the same place  |                                  -> head  \\
                                                                                                               weighted
    each stream:  patches -> blocks over [own tokens that score high | others' in place of the rest] ... -> head  /

A block scores its input tokens (s, one network per stage and stream, as released), takes the other stream's token where
s < threshold (eq. 6), and attends to LN(x) s (eq. 4); a token that was replaced has its donor's score. In segmentation
every block exchanges, in translation the last of each stage (released code). Attention, MLP, patches and head are
shared, norms are apart; the first patches are apart, too, where streams have other numbers of channels.

Unlike the paper, whose penalty is the sum of all scores, the default penalises the squared distance of the share of
tokens exchanged from `target_share`, for every block and stream, with the gradient of a soft count: a penalty that only
lowers scores ends with nearly all tokens replaced, when the streams have swapped and nothing is fused.
`target_share=None` is the mean of the scores, the paper's up to its scale. Also unlike the released code, which
multiplies and replaces what attention gives, and never trains the weights of the average.

`channel_threshold` exchanges channels by the factors of the norm before attention (supplement, eq. 1); as in CEN, each
stream gives up channels of a part of its own, where alone they are penalised, for the mean of the others.
Unlike the paper, which penalises all factors of the part, `channel_target_share` penalises as many as that, the
smallest: AdamW moves what one penalty pulls at alike, so that all of them cross the threshold or none does.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse.layers.exchange import Score, check_penalties
from sparsefuse.layers.options import check_choice
from sparsefuse.layers.pixels.encoder import Mix, Shared, Stage, at, encoder
from sparsefuse.layers.pixels.exchange import Places, exchange, exchange_channels, parts_of_channels
from sparsefuse.layers.pixels.head import Loss, PixelHead
from sparsefuse.layers.pixels.sizes import Size, Task, size_of
from sparsefuse.model.pixels import PixelModel
from sparsefuse.tokens import Field, PixelState

TEST: dict[str, Any] = {"threshold": 0.5, "score_penalty": 0.1}


class Rule(NamedTuple):
    """The options of exchanging stages; see `build`."""

    threshold: float
    target_share: float | None
    score_penalty: float
    channel_threshold: float | None
    channel_penalty: float
    channel_target_share: float | None
    num_exchanging: int
    """blocks of the model that exchange: penalties are means over them"""


def build(
    streams: Mapping[str, int],
    num_classes: int,
    *,
    task: Task = "segment",
    size: str | Size | Mapping[str, Any] = "b0",
    drop_path: float = 0.1,
    shared: Shared = "all_but_norm",
    threshold: float = 0.02,
    score_penalty: float = 1.0,
    target_share: float | None = 0.1,
    channel_threshold: float | None = None,
    channel_penalty: float = 0.0,
    channel_target_share: float | None = None,
    loss: Loss = "each",
    group_seed: int = 0,
) -> PixelModel:
    """Exchanges where a score is below `threshold`; `score_penalty` times the penalty is added to the loss.

    shared: what streams share, all, none or all_but_norm. loss: of every stream's prediction, and of their average as
    far as its weights go; or of the average alone (mean). `channel_threshold`: channels whose factor is smaller take
    the others'; `channel_penalty` times the mean factor joins the loss, or, with `channel_target_share`, the part in it
    of that share of a stream's factors which are smallest. With three streams or more `group_seed` divides the places
    of each among its donors (eq. 7). Raises ValueError for options that are unknown, out of range or contradict each
    other.
    """
    check_choice("choice of shared", shared, Shared)
    _check_shares(threshold=threshold, target_share=target_share, channel_target_share=channel_target_share)
    check_penalties(score_penalty, channel_threshold, channel_penalty, shared)
    if channel_target_share is not None and not channel_penalty:
        raise ValueError(f"channel_target_share={channel_target_share} needs channel_penalty, as in 0.1; got 0")
    whole, names = size_of(task, size), tuple(streams)
    fusing = len(names) > 1
    every = task == "segment"
    rule = Rule(
        threshold, target_share, score_penalty, channel_threshold, channel_penalty, channel_target_share,
        sum(whole.depths) if every else len(whole.depths),
    )  # fmt: skip

    def stage(stage: Stage) -> list[nn.Module]:
        blocks = [Mix(names, stage, rate, shared) for rate in stage.drop_paths]
        last = 0 if every else len(blocks) - 1
        exchanging = Exchanging(blocks[last:], stage, rule, group_seed)
        return [*blocks[:last], exchanging] if fusing else list(blocks)

    layers = encoder(streams, whole, stage, drop_path=drop_path, shared=shared)
    head = PixelHead(names, task, whole, num_classes, shared=shared, loss=loss)
    return PixelModel(streams, names, layers, head)


class Exchanging(nn.Module):
    """The blocks of a stage that exchange, with the networks that score their tokens."""

    def __init__(self, blocks: list[Mix], stage: Stage, rule: Rule, seed: int):
        super().__init__()
        self.names, self.number, self.rule = blocks[0].names, stage.number, rule
        self.blocks = nn.ModuleList(blocks)
        self.scores = nn.ModuleList(Score(stage.dim) for _ in self.names)
        self.places = Places(len(self.names), seed)
        parts = parts_of_channels(stage.dim, len(self.names))
        self.register_buffer("parts", torch.tensor(parts), persistent=False)
        self.parts: Tensor
        self.sizes = [sum(part) for part in parts]  # of no tensor: a described model is first built without memory

    def forward(self, state: PixelState) -> PixelState:
        for i, block in enumerate(self.blocks):
            state = self._exchange(state, block, i)  # pyright: ignore[reportArgumentType]
        return state

    def _exchange(self, state: PixelState, mix: Mix, number: int) -> PixelState:
        fields = [state.streams[name] for name in self.names]
        masks = [field.mask for field in fields]
        takes = self.places.takes(masks)
        scores = [score(field.x) for score, field in zip(self.scores, fields, strict=True)]  # (B, H, W)
        gone = [score < self.rule.threshold for score in scores]
        x = exchange([field.x for field in fields], gone, takes)  # eq. 6
        weight = exchange(scores, gone, takes)
        may = [torch.stack(list(places.values())).any(0) for places in takes]
        penalty = self._score_penalty(scores, gone, masks, may)
        read = [norms.attention(own) for own, (_, _, norms) in zip(x, mix.parts(), strict=True)]
        weak: list[Tensor] = []
        if self.rule.channel_threshold is not None:
            factors = [norms.attention.weight.abs() for _, _, norms in mix.parts()]
            weak = [(f < self.rule.channel_threshold) & part for f, part in zip(factors, self.parts, strict=True)]
            read = exchange_channels(read, masks, weak)
            penalty = penalty + self._channel_penalty(factors)
        streams, exchanged, channels = dict(state.streams), dict(state.exchanged), dict(state.channels)
        for i, (name, block, norms) in enumerate(mix.parts()):
            y = read[i] * weight[i][..., None]  # eq. 4
            streams[name] = block(Field(x[i], masks[i]), norms, y)
            place = f"{at(name, self.number)}.{number + 1}"
            exchanged[place] = Field((gone[i] & may[i])[..., None].to(y.dtype), may[i])
            if weak:
                channels[place] = weak[i].sum() / self.parts[i].sum().clamp_min(1)
        penalty = state.penalty + penalty
        return state._replace(streams=streams, exchanged=exchanged, channels=channels, penalty=penalty)

    def _score_penalty(
        self, scores: list[Tensor], gone: list[Tensor], masks: list[Tensor], may: list[Tensor]
    ) -> Tensor:
        """() this block's part: the mean score of real tokens (eq. 5), or the squared distance from the target of the
        share that is exchanged of the tokens with a donor."""
        target, threshold = self.rule.target_share, self.rule.threshold
        parts = []
        for i, score in enumerate(scores):
            score = score.float()
            if target is None:
                parts.append(_mean(score, masks[i]))
                continue
            soft = _mean((_logit(threshold) - score.logit(1e-6)).sigmoid(), may[i])
            share = _mean(gone[i].float(), may[i]) + soft - soft.detach()
            parts.append((share - target * may[i].any()) ** 2)
        return self.rule.score_penalty * torch.stack(parts).mean() / self.rule.num_exchanging

    def _channel_penalty(self, factors: list[Tensor]) -> Tensor:
        """() this block's part: the sum of what is penalised, by the number of all that could be."""
        target, sums = self.rule.channel_target_share, []
        for factor, part, size in zip(factors, self.parts, self.sizes, strict=True):
            if target is None:
                sums.append((factor * part).sum())
                continue
            ranked = factor.masked_fill(~part, math.inf).sort(stable=True).values  # of equals, the first
            sums.append(ranked[: round(target * size)].sum())
        return self.rule.channel_penalty * torch.stack(sums).sum() / sum(self.sizes) / self.rule.num_exchanging


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """() over what is under the mask; 0 if nothing is."""
    return (values * mask).sum() / mask.sum().clamp_min(1)


def _logit(p: float) -> float:
    return math.log(p / (1 - p)) if 0 < p < 1 else math.copysign(math.inf, p - 0.5)


def _check_shares(**shares: float | None) -> None:
    for option, value in shares.items():
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{option} must be from 0 to 1; got {value}")
