"""TokenFusion: tokens of low importance are replaced by another modality's of the same time (Wang et al. 2022).

    each modality:  embed -> 12 layers over [own tokens that score high | others' in place of the rest] -> own head  \\
                                                                |  of the same time  |                       weighted
    each modality:  embed -> 12 layers over [own tokens that score high | others' in place of the rest] -> own head  /

A layer scores its input tokens (s, one network per layer and modality; the released code has one per stage), puts a
donor's token, projected, in the place of those with s < threshold (eq. 6), adds positions again, and attends to
LN(x) s (eq. 4). A substituted token has its donor's score, as in the released code; with its own it would have almost
no weight. With `substitute="output"`, the released code, s multiplies attention's output and tokens are replaced there;
the last layer then exchanges nothing, for only CLS is read after it.

Unlike the paper, which does not say how positions start, and unlike the other methods here, a table of positions starts
at a fiftieth of N(0, 1), as a Vision Transformer's does, and sinusoids are a share each of one. Added whole in twelve
layers they drown the tokens: clips look alike, and from some layer on all tokens are exchanged. What each layer
exchanges stands in metrics.jsonl, result.json and the report: one that exchanges none, or nearly all, does not fuse.

Where the paper needs a choice for clips: CLS scores 1 and is never exchanged. Streams of other lengths are aligned by
relative time. A token whose donor the sample lacks is kept. Unlike the paper, nothing is shared by default
(`shared`; it shares MSA and MLP among modalities of one kind) and a shallow MLP projects donors in every layer
(`projection="none"` is its choice for modalities of one kind), per pair of modalities, and their gradient is kept
(cut in the released 3D code). Penalties are means, over a clip's tokens, its modalities, clips and layers, where the
paper sums: of the mean of M + 1 losses, `score_penalty` is its lambda times L N / (M + 1), N all tokens of a clip.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse.layers.block import Attention, Block, Mlp
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.exchange import Donors, Projection, Score, Source, allot, check_penalties
from sparsefuse.layers.options import check_choice
from sparsefuse.layers.streams import PerStream, presence
from sparsefuse.model import FusionModel
from sparsefuse.tokens import HeadOutputs, State, Tokens

TEST = {"fusion_depth": 2, "dim": 20, "num_heads": 5, "threshold": 0.65, "score_penalty": 0.1}

Substitute = Literal["input", "output"]
Shared = Literal["none", "all", "all_but_norm"]
Positions = Literal["residual", "once"]
Project = Literal["mlp", "none"]

SLOTS = 1024
"""Token slots that are divided among donors where the longest clip is not known; longer clips repeat them."""

START = 0.02
"""Standard deviation of learned positions at the start; that of Vision Transformers."""

LEAST = 1e-6


class Rule(NamedTuple):
    """The options of exchanging layers; see `build`."""

    threshold: float
    substitute: Substitute
    shared: Shared
    positions: Positions
    channel_threshold: float | None
    score_weight: float
    """of this layer's mean score in the loss"""
    channel_weight: float
    """of this layer's mean |gamma| in the loss"""


def build(
    features: dict[str, int],
    num_classes: int,
    *,
    lengths: dict[str, int] | None = None,
    unimodal_depth: int = 0,
    fusion_depth: int = 12,
    dim: int = 40,
    num_heads: int = 5,
    mlp_ratio: float = 1.0,
    drop: float = 0.0,
    threshold: float = 0.02,
    score_penalty: float = 0.01,
    substitute: Substitute = "input",
    shared: Shared = "none",
    positions: Positions = "residual",
    projection: Project = "mlp",
    channel_threshold: float | None = None,
    channel_penalty: float = 0.0,
    group_seed: int = 0,
) -> FusionModel:
    """Exchanges where a score is below `threshold`; `score_penalty` times the mean score is added to the loss.

    shared: what modalities share in exchanging layers; `all_but_norm` is attention and MLP. positions: added in every
    exchanging layer, or in the embedding alone. `channel_threshold`: channels whose LayerNorm factor before attention
    is smaller take the donor's; `channel_penalty` times the mean factor joins the loss (supplement, eq. 1). With three
    modalities or more `group_seed` divides each one's token slots among its donors, once and for all (eq. 7). Raises
    ValueError for options that are unknown, out of range or contradict each other.
    """
    check_choice("choice of substitute", substitute, Substitute)
    check_choice("choice of shared", shared, Shared)
    check_choice("choice of positions", positions, Positions)
    check_choice("choice of projection", projection, Project)
    _check_numbers(threshold, score_penalty, channel_threshold, channel_penalty, shared)
    names = tuple(sorted(features))
    num_exchanging = 0 if len(names) == 1 else fusion_depth - (substitute == "output")
    if len(names) > 1 and num_exchanging < 1:
        least = fusion_depth - num_exchanging + 1
        raise ValueError(f"substitute={substitute!r} needs a fusion_depth of {least} or more; got {fusion_depth}")
    rule = Rule(
        threshold, substitute, shared, positions, channel_threshold,
        score_penalty / max(num_exchanging, 1), channel_penalty / max(num_exchanging, 1),
    )  # fmt: skip
    slots = _slots(names, lengths, group_seed)

    def project() -> nn.Module:
        return Projection(dim) if projection == "mlp" else nn.Identity()

    def donors(name: str) -> Donors:
        others = tuple(other for other in names if other != name)
        return Donors(others, slots[name].clone(), [project() for _ in others])

    def plain() -> PerStream:
        return PerStream(names, lambda _: Block(dim, num_heads, mlp_ratio=mlp_ratio, drop=drop))

    layers: list[nn.Module] = [plain() for _ in range(unimodal_depth)]
    layers += [
        Exchanging({name: donors(name) for name in names}, dim, num_heads, mlp_ratio=mlp_ratio, drop=drop, rule=rule)
        for _ in range(num_exchanging)
    ]
    layers += [plain() for _ in range(fusion_depth - num_exchanging)]
    times = 1 + num_exchanging if positions == "residual" else 1
    scale = START if lengths else 1 / times
    embed = Embed(features, dim, lengths, keep_positions=times > 1, position_scale=scale)
    return FusionModel(embed, layers, Ensemble(dim, num_classes, names), features=features)


class Exchanging(nn.Module):
    """One layer: score, exchange, attention, MLP."""

    def __init__(
        self, donors: dict[str, Donors], dim: int, num_heads: int, *, mlp_ratio: float, drop: float, rule: Rule
    ):
        super().__init__()
        self.names, self.rule = tuple(donors), rule
        self.donors = nn.ModuleList(donors.values())
        self.scores = nn.ModuleList(Score(dim) for _ in donors)
        norms = 1 if rule.shared == "all" else len(donors)
        rest = len(donors) if rule.shared == "none" else 1
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(norms))
        self.attentions = nn.ModuleList(Attention(dim, num_heads) for _ in range(rest))
        self.mlp_norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(norms))
        self.mlps = nn.ModuleList(Mlp(dim, mlp_ratio, drop, norm=False) for _ in range(rest))
        self.drop = nn.Dropout(drop)

    def forward(self, state: State) -> State:
        streams = {name: state.streams[name] for name in self.names}
        x = {name: tokens.x for name, tokens in streams.items()}
        scores, sources = self._scores(streams), self._sources(streams)
        gone = {name: score < self.rule.threshold for name, score in scores.items()}
        penalty = state.penalty + self._penalty(scores, streams)
        before = self.rule.substitute == "input"
        if before:
            x = self._exchange(x, gone, sources, project=True)  # eq. 6
            scores = self._exchange(scores, gone, sources)
        if self.rule.positions == "residual":
            x = {name: value + state.streams[f"{name}<-position"].x for name, value in x.items()}
        y = self._normalised(x, sources)
        if before:
            y = {name: value * scores[name][..., None] for name, value in y.items()}  # eq. 4
        y = {name: attention(y[name], streams[name].mask).x for name, attention in self._each(self.attentions)}
        if not before:
            y = {name: value * scores[name][..., None] for name, value in y.items()}
            y = self._exchange(y, gone, sources, project=True)
        x = {name: value + self.drop(y[name]) for name, value in x.items()}
        z = {name: norm(x[name]) for name, norm in self._each(self.mlp_norms)}
        x = {name: x[name] + self.drop(mlp(z[name])) for name, mlp in self._each(self.mlps)}
        changed = {name: Tokens(x[name], tokens.mask) for name, tokens in streams.items()}
        return State({**state.streams, **changed}, penalty)

    def exchanged(self, state: State) -> dict[str, Tensor]:
        """(B, N) bool per modality: the tokens of this layer's input `state` that are replaced; CLS is column 0."""
        streams = {name: state.streams[name] for name in self.names}
        scores, sources = self._scores(streams), self._sources(streams)
        takes = {name: torch.stack([source.takes for source in sources[name]]).any(0) for name in self.names}
        return {name: takes[name] & (score < self.rule.threshold) for name, score in scores.items()}

    def _scores(self, streams: dict[str, Tokens]) -> dict[str, Tensor]:
        """(B, N) per modality; CLS, which is never replaced, has 1."""
        scores = {name: score(streams[name].x[:, 1:]) for name, score in self._each(self.scores)}
        return {name: torch.cat([torch.ones_like(streams[name].x[:, :1, 0]), s], 1) for name, s in scores.items()}

    def _sources(self, streams: dict[str, Tokens]) -> dict[str, list[Source]]:
        return {name: donors.sources(streams[name].mask, streams) for name, donors in self._each(self.donors)}

    def _exchange(
        self,
        values: dict[str, Tensor],
        gone: dict[str, Tensor],
        sources: dict[str, list[Source]],
        *,
        project: bool = False,
    ) -> dict[str, Tensor]:
        """Values (B, N) or (B, N, D) of every stream, with the donors' where tokens are `gone` (B, N)."""
        return {
            name: donors.replace(
                values[name],
                gone[name] if values[name].dim() == 2 else gone[name][..., None],
                sources[name],
                values,
                project=project,
            )
            for name, donors in self._each(self.donors)
        }

    def _normalised(self, x: dict[str, Tensor], sources: dict[str, list[Source]]) -> dict[str, Tensor]:
        """What attention reads; channels of little weight are the donor's (supplement, eq. 1)."""
        y = {name: norm(x[name]) for name, norm in self._each(self.norms)}
        if self.rule.channel_threshold is None:
            return y
        weak = {name: norm.weight.abs() < self.rule.channel_threshold for name, norm in self._each(self.norms)}
        return {n: donors.replace(y[n], weak[n], sources[n], y) for n, donors in self._each(self.donors)}

    def _penalty(self, scores: dict[str, Tensor], streams: dict[str, Tokens]) -> Tensor:
        """() this layer's part of the loss: the mean score of real tokens, the mean |gamma| of channels (eq. 5)."""
        means, there = [], []
        for name, tokens in streams.items():
            weight = tokens.mask[:, 1:].to(torch.float32)
            means.append((scores[name][:, 1:] * weight).sum(1) / weight.sum(1).clamp_min(LEAST))
            there.append(presence(tokens)[:, 0, 0].to(torch.float32))
        share = torch.stack(there)  # (M, B)
        score = ((torch.stack(means) * share).sum(0) / share.sum(0).clamp_min(LEAST)).mean()
        gamma = torch.stack([norm.weight.abs().mean() for _, norm in self._each(self.norms)]).mean()
        return self.rule.score_weight * score + self.rule.channel_weight * gamma

    def _each(self, parts: nn.ModuleList) -> Iterator[tuple[str, Any]]:
        """Every modality with its part; a single part is shared by all."""
        return ((name, parts[i % len(parts)]) for i, name in enumerate(self.names))


class Ensemble(nn.Module):
    """A LayerNorm and a linear layer per modality on its CLS; logits are averaged with learned weights.

    A modality that a sample lacks is ignored: the others' weights are normalised to sum to 1.
    """

    def __init__(self, dim: int, num_classes: int, streams: tuple[str, ...]):
        super().__init__()
        self.streams = streams
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in streams)
        self.classify = nn.ModuleList(nn.Linear(dim, num_classes) for _ in streams)
        self.weight = nn.Parameter(torch.zeros(len(streams)))  # alpha before its softmax

    def forward(self, state: State) -> Tensor:
        """The average (B, C), through which gradients reach everything."""
        return self._average(self._logits(state), self._there(state))

    def head_outputs(self, state: State) -> HeadOutputs:
        """Each modality's logits, then their average, whose loss trains only the average's weights; equal shares."""
        logits, there = self._logits(state), self._there(state)
        outputs = torch.cat([logits, self._average(logits.detach(), there)[:, None]], 1)  # (B, M + 1, C)
        weights = torch.cat([there, torch.ones_like(there[:, :1])], 1)
        return HeadOutputs(outputs, weights / weights.sum(1, keepdim=True))

    def _logits(self, state: State) -> Tensor:
        """(B, M, C)"""
        parts = zip(self.streams, self.norms, self.classify, strict=True)
        return torch.stack([classify(norm(state.streams[name].x[:, 0])) for name, norm, classify in parts], 1)

    def _there(self, state: State) -> Tensor:
        """(B, M) a fraction only where mixup blends samples with other modalities."""
        return torch.cat([presence(state.streams[name])[:, 0] for name in self.streams], 1)

    def _average(self, logits: Tensor, there: Tensor) -> Tensor:
        weights = self.weight.softmax(0) * there
        weights = weights / weights.sum(1, keepdim=True).clamp_min(LEAST)
        return (logits * weights[..., None]).sum(1)


def _slots(names: tuple[str, ...], lengths: dict[str, int] | None, seed: int) -> dict[str, Tensor]:
    """The donor's number by token slot, per modality."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {name: SLOTS if lengths is None else lengths[name] for name in names}
    return {name: allot(size, max(len(names) - 1, 1), generator) for name, size in sizes.items()}


def _check_numbers(threshold: float, score_penalty: float, channel_threshold: float | None, channel_penalty: float,
                   shared: Shared) -> None:  # fmt: skip
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is compared with scores, which are from 0 to 1; got {threshold}")
    check_penalties(score_penalty, channel_threshold, channel_penalty, shared)
