"""A fusion model: embed, a flat list of layers, a head; and the one loop that runs them."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from sparsefuse.layers.embed import Embed, check_free, check_present, check_tokens, with_masks
from sparsefuse.layers.stem import Stem
from sparsefuse.layers.streams import run_layers
from sparsefuse.mixup import Mix, Plan, mix_state
from sparsefuse.tokens import HeadOutputs, Output, State, Tokens

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

    def put_before(self, stems: Mapping[str, Stem], features: Mapping[str, int]) -> None:
        """Raw streams, of `features`, pass these stems before they are embedded."""
        self.features = {name: features[name] for name in sorted(features)}
        self.embed.put_before(stems, features)

    def forward(
        self, tokens: Mapping[str, Tokens | Tensor], mix: Mix | None = None, probe: Probe | None = None
    ) -> Output:
        """Tokens per modality (any subset, in any order) -> logits (B, C) and penalty (). A plain tensor (B, N, F) is
        tokens that are all real.

        Depth 0 is after the embedding, depth i after layer i. There `mix` blends samples and `probe` is called
        with the state. Raises ValueError for unknown modalities, wrong types, shapes or widths, or none at all; in
        eval mode on the CPU, for a clip whose tokens are all masked, too.
        """
        whole = with_masks(tokens)
        state = self.encode(whole, mix, probe)
        if not self.training:
            check_present(whole)
        logits: Tensor = self.head(state)
        return Output(logits, state.penalty)

    def encode(self, tokens: dict[str, Tokens], mix: Mix | None = None, probe: Probe | None = None) -> State:
        """The state after the last layer, the head's input; see `forward`."""
        check_tokens(tokens, self.features, next(self.parameters()).dtype)
        return self.through(self.embed(tokens), mix=mix, probe=probe)

    def through(
        self, state: State, first: int = 0, last: int | None = None, mix: Mix | None = None, probe: Probe | None = None
    ) -> State:
        """Runs layers from depth `first` to `last` (the end, if None); `mix` and `probe` apply at both depths too."""
        layers = list(self.layers)[:last]
        depth = first
        while True:
            if mix is not None and mix.depth == depth:
                state = mix_state(state, mix)
            if probe is not None:
                probe(depth, state)
            if depth == len(layers):
                return state
            until = depth + 1 if probe is not None else len(layers)
            if mix is not None and depth < mix.depth < until:
                until = mix.depth
            state = run_layers(layers[depth:until], state)
            depth = until

    def stream_names(self) -> tuple[tuple[str, ...], ...]:
        """The names of the streams at every depth, from a forward pass of a tiny clip."""
        weight = next(self.parameters())
        clip = {
            name: Tokens(weight.new_zeros(1, 2, width), weight.new_ones(1, 2, dtype=torch.bool))
            for name, width in self.embed.features.items()
        }
        streams: list[tuple[str, ...]] = []
        modes = [(module, module.training) for module in self.modules()]
        with torch.no_grad():
            self.eval()(clip, probe=lambda _, state: streams.append(tuple(state.streams)))
        for module, training in modes:
            module.training = training
        return tuple(streams)

    def mixup_plan(self) -> Plan:
        """What `mixup.draw` needs to know of this model."""
        layers = [all(getattr(part, "is_block", True) for part in layer.modules()) for layer in self.layers]
        blocks = tuple(depth for depth, is_block in enumerate(layers, 1) if is_block)
        return Plan(self.modalities, self.stream_names(), blocks)

    def training_outputs(self, tokens: dict[str, Tokens], mix: Mix | None = None) -> tuple[HeadOutputs, Tensor]:
        """The outputs that training takes the loss of, and the penalty; see `head_outputs`."""
        return self.head_outputs(self.encode(tokens, mix))

    def head_outputs(self, state: State) -> tuple[HeadOutputs, Tensor]:
        """The head's outputs at the last state, and the penalty. A head without `head_outputs` has one: its logits."""
        if hasattr(self.head, "head_outputs"):
            return self.head.head_outputs(state), state.penalty  # pyright: ignore[reportCallIssue]
        logits: Tensor = self.head(state)
        return HeadOutputs(logits[:, None], torch.ones_like(logits[:, :1])), state.penalty
