"""Statistics of each stream, and a linear layer or trees on all of them: what a fusion is to beat.

    statistics -> linear | trees

Nothing is trained by gradients: `fit` fits it to the training clips. The statistics of a stream that a clip lacks are
those of the mean clip.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from sparsefuse.baseline.statistics import PER_FEATURE, Kind, kind_of, statistics
from sparsefuse.layers.streams import zero_penalty
from sparsefuse.model import FusionModel
from sparsefuse.tokens import State, Tokens

Fit = Literal["auto", "linear", "trees"]
"""which classifier is fitted; auto = the better one on the validation clips"""
Outputs = Literal["log", "logit", "value"]
"""what trees make of the mean of their leaves: logits of one class of several, of each class for itself; a number"""


def build(
    features: dict[str, int],
    num_classes: int,
    *,
    lengths: dict[str, int] | None = None,
    trees: int = 0,
    leaves: int = 2,
    depth: int = 1,
    outputs: Outputs = "log",
    kind: Fit = "auto",
    strength: float = 0.0,
) -> FusionModel:
    """`trees` of up to `leaves` leaves and `depth` comparisons to each; 0 = a linear layer. `kind` and `strength`, the
    inverse of a linear layer's penalty, 0 = chosen on the validation clips, say how `fit` finds the weights."""
    del kind, strength
    summary = Summary(features, lengths)
    width = sum(summary.widths.values())
    decide = Trees(width, num_classes, trees, leaves, depth, outputs) if trees else nn.Linear(width, num_classes)
    return FusionModel(summary, [], Standardised(summary.widths, decide), features=features)  # pyright: ignore[reportArgumentType]


class Summary(nn.Module):
    """(B, N, F) features of each modality -> (B, 1, S), its statistics."""

    def __init__(self, features: dict[str, int], lengths: dict[str, int] | None = None):
        super().__init__()
        self.features = {name: features[name] for name in sorted(features)}
        self.kinds: dict[str, Kind] = {
            name: kind_of(width, (lengths or {}).get(name)) for name, width in self.features.items()
        }
        self.widths = {name: width * PER_FEATURE[self.kinds[name]] for name, width in self.features.items()}

    def forward(self, tokens: dict[str, Tokens]) -> State:
        """Raises ValueError when no modality is given that it reads."""
        present = [given for name, given in tokens.items() if name in self.features]
        if not present:
            raise ValueError(f"the model needs at least one of {', '.join(self.features)}; got {', '.join(tokens)}")
        like, streams = present[0].x, {}
        for name, width in self.widths.items():
            if name in tokens:
                rows, there = statistics(tokens[name], self.kinds[name]), tokens[name].mask.any(1, keepdim=True)
            else:
                rows, there = like.new_zeros(like.shape[0], width), like.new_zeros(like.shape[0], 1).bool()
            streams[name] = Tokens(rows[:, None], there)
        return State(streams, zero_penalty(like))


class Standardised(nn.Module):
    """The statistics of all streams, each with zero mean and unit variance, through `decide` (B, S) -> (B, C)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, widths: dict[str, int], decide: nn.Module):
        super().__init__()
        self.names, self.decide = tuple(widths), decide
        self.register_buffer("mean", torch.zeros(sum(widths.values())))
        self.register_buffer("scale", torch.ones(sum(widths.values())))

    def forward(self, state: State) -> Tensor:
        return self.decide(self.rows(state))

    def rows(self, state: State) -> Tensor:
        """(B, S) what `decide` sees."""
        x, there = joined(state, self.names)
        return (x - self.mean) * self.scale * there


def joined(state: State, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """The statistics (B, S) of these streams, and whether the clip has the stream of each."""
    streams = [state.streams[name] for name in names]
    there = [stream.mask.to(stream.x.dtype).expand(-1, stream.x.shape[2]) for stream in streams]
    return torch.cat([stream.x[:, 0] for stream in streams], 1), torch.cat(there, 1)


class Trees(nn.Module):
    """The mean of many decision trees: (B, S) -> (B, C).

    Nodes of a tree are numbered, its `leaves` - 1 inner nodes first, the root 0; leaves after them.
    """

    def __init__(self, width: int, num_classes: int, trees: int, leaves: int, depth: int, outputs: Outputs):
        super().__init__()
        if not 1 <= depth < leaves:
            raise ValueError(f"trees of {leaves} leaves have depth {depth}; expected 1 to {leaves - 1}")
        self.depth, self.outputs = depth, outputs
        self.value = nn.Parameter(torch.zeros(trees, leaves, num_classes))
        """shares of the classes among the training clips of each leaf"""
        self.threshold = nn.Parameter(torch.zeros(trees, leaves - 1), requires_grad=False)
        whole = torch.zeros(trees, leaves - 1, dtype=torch.int32)
        self.feature = nn.Parameter(whole, requires_grad=False)
        self.below = nn.Parameter(whole.clone(), requires_grad=False)
        """the node to go to if the feature is not larger than the threshold"""
        self.above = nn.Parameter(whole.clone(), requires_grad=False)
        self.register_load_state_dict_post_hook(lambda *_: self._check(width))

    @property
    def comparisons(self) -> int:
        """Most comparisons of a clip, which `cost` counts as multiply-adds."""
        return len(self.value) * self.depth

    def _check(self, width: int) -> None:
        """Raises ValueError for weights of which a step leads out of the tree."""
        last = 2 * self.value.shape[1] - 2
        for name, most in {"feature": width - 1, "below": last, "above": last}.items():
            found = getattr(self, name)
            if found.min() < 0 or found.max() > most:
                raise ValueError(f"trees: {name} is {int(found.min())} to {int(found.max())}; expected 0 to {most}")

    def forward(self, x: Tensor) -> Tensor:
        trees, inner = self.threshold.shape
        tree = torch.arange(trees, device=x.device)
        node = torch.zeros(x.shape[0], trees, dtype=torch.long, device=x.device)
        for _ in range(self.depth):
            at = tree * inner + node.clamp_max(inner - 1)  # (B, T) in all trees' inner nodes
            above = x.gather(1, self.feature.flatten()[at].long()) > self.threshold.flatten()[at]
            to = torch.where(above, self.above.flatten()[at], self.below.flatten()[at]).long()
            node = torch.where(node < inner, to, node)
        leaf = tree * (inner + 1) + node - inner
        share = self.value.flatten(0, 1)[leaf].mean(1)  # (B, C)
        if self.outputs == "value":
            return share
        logits = (share + SMALL).log()
        return logits if self.outputs == "log" else logits - (1 - share + SMALL).log()


SMALL = 1e-3
"""what is added to a share, for its logarithm"""
