"""A fusion model: embed, a flat list of layers, a head; and the one loop that runs them."""

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from sparsefuse.layers.embed import Embed, check_free, check_known
from sparsefuse.mixup import Mix, mix_state
from sparsefuse.tokens import Output, State, Tokens

Probe = Callable[[int, State], None]


class FusionModel(nn.Module):
    """Maps named streams to logits. `features` are all modalities it accepts; `modalities` those it reads."""

    def __init__(self, embed: Embed, layers: Iterable[nn.Module], head: nn.Module, *, features: dict[str, int]):
        super().__init__()
        check_free(features)
        self.features = {name: features[name] for name in sorted(features)}
        self.modalities = tuple(embed.features)
        self.embed = embed
        self.layers = nn.ModuleList(layers)
        self.head = head

    def forward(self, tokens: dict[str, Tokens], mix: Mix | None = None, probe: Probe | None = None) -> Output:
        """Tokens per modality (any subset, in any order) -> logits (B, C) and penalty ().

        Depth 0 is after the embedding, depth i after layer i. There, and only there, `mix` blends samples and `probe`
        looks at the state. Raises ValueError for unknown modalities, wrong widths, or none at all.
        """
        check_known(tokens, self.features)
        state = self.embed(tokens)
        for depth, layer in enumerate([None, *self.layers]):
            if layer is not None:
                state = layer(state)
            if mix is not None and mix.depth == depth:
                state = mix_state(state, mix)
            if probe is not None:
                probe(depth, state)
        logits: Tensor = self.head(state)
        return Output(logits, state.penalty)
