"""Pooled tokens know what they pooled, and layers that exchange tokens are asked which."""

import torch
from torch import nn

from contract.contract_cases import clips, model_of
from sparsefuse.explain.pooled import exchanged, pooled
from sparsefuse.explain.rollout import rollout
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.head import Head
from sparsefuse.model import FusionModel


def states_of(model, batch):
    states = []
    with torch.no_grad():
        model(batch, probe=lambda _, state: states.append(state))
    return states


def test_pooled_tokens_of_sft_cover_their_modality_in_order():
    model = model_of(("sft", {"unimodal_depth": 1, "fusion_depth": 2, "dim": 20, "num_heads": 5, "keep": 3}))
    batch = clips({"rgb": [9], "sound": [40], "flow": [2]}, extra=2)
    traced = rollout(model, batch)
    found = pooled(model, traced, states_of(model, batch))
    assert found["rgb"].start.tolist() == [0, 3, 6]
    assert found["rgb"].stop.tolist() == [3, 6, 9]
    assert found["sound"].start.tolist() == [0, 14, 27]  # 40 tokens n, window n * 3 // 40
    assert found["sound"].stop.tolist() == [14, 27, 40]
    assert found["flow"].stop.tolist() == [1, 2], "the third window is empty"
    after = traced.depths[2]
    torch.testing.assert_close(found["sound"].relevance, after["sound"][0, 1:])
    join = traced.depths[3]["fused"][0, 1:]
    torch.testing.assert_close(
        join, torch.cat([after[name][0, 1:] for name in ("flow", "rgb", "sound")]), msg="joining moves tokens only"
    )


def test_what_is_not_pooled_by_modality_has_no_pooled_tokens():
    for method, options in (("late", {}), ("concat", {"stride": 5})):
        depth = {"unimodal_depth": 2} if method == "late" else {"fusion_depth": 2}
        model = model_of((method, {**depth, **options, "dim": 20, "num_heads": 5}))
        batch = clips({"rgb": [9], "sound": [40], "flow": [7]})
        assert pooled(model, rollout(model, batch), states_of(model, batch)) == {}


def test_late_fusion_with_a_stride_has_pooled_tokens():
    model = model_of(("late", {"unimodal_depth": 2, "stride": 4, "dim": 20, "num_heads": 5}))
    batch = clips({"rgb": [9], "sound": [8], "flow": [1]})
    found = pooled(model, rollout(model, batch), states_of(model, batch))
    assert found["rgb"].stop.tolist() == [4, 8, 9]


class _Exchange(nn.Module):
    """Takes every second token of `a` from `b`, CLS apart."""

    def exchanged(self, state):
        place = torch.arange(state.streams["a"].mask.shape[1])
        return {"a": ((place % 2 == 0) & (place > 0)).expand(1, -1)}

    def forward(self, state):
        a, b = state.streams["a"], state.streams["b"]
        x = torch.where(self.exchanged(state)["a"][..., None], b.x, a.x)
        return state._replace(streams={"a": a._replace(x=x), "b": b})


def test_exchanged_tokens_are_named_by_layer_and_traced_to_their_donor():
    features = {"a": 3, "b": 3}
    model = FusionModel(
        Embed(features, 20),
        [
            _Exchange(),
            model_of(("late", {"unimodal_depth": 1, "dim": 20, "num_heads": 5}), features=features).layers[0],
        ],
        Head(20, 3, ("a",)),
        features=features,
    ).eval()
    batch = clips({"a": [4], "b": [4]}, features=features)
    found = exchanged(model, states_of(model, batch))
    assert {layer: {name: x.tolist() for name, x in names.items()} for layer, names in found.items()} == {
        0: {"a": [False, True, False, True]}
    }
    traced = rollout(model, batch)
    assert (traced.tokens["a"][0] > 0).tolist() == [True, False, True, False]
    assert (traced.tokens["b"][0] > 0).tolist() == [False, True, False, True]
