"""How positions begin: by scale and kind, of every method."""

import pytest
import torch

from sparsefuse.layers.embed import sinusoids
from sparsefuse.methods import build, find, methods, option_names

FEATURES, LENGTHS = {"rgb": 6, "sound": 4}, {"rgb": 9, "sound": 7}


def made(method: str, **options):
    torch.manual_seed(0)
    own = {**find(method).TEST, **({"modality": "rgb"} if method == "unimodal" else {})}
    return build(method, FEATURES, 3, lengths=LENGTHS, **own, **options)


@pytest.mark.parametrize("method", methods())
def test_no_method_has_an_option_that_all_have(method: str) -> None:
    names = option_names(method)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("method", methods())
def test_learned_positions_start_at_a_scale(method: str) -> None:
    assert "pos_embed" in option_names(method)
    usual, tenth = made(method), made(method, pos_embed={"scale": 0.1})
    for own, other in zip(tenth.embed.position, usual.embed.position, strict=True):
        torch.testing.assert_close(own, 0.1 * other)
        assert own.requires_grad


def test_sinusoidal_positions_are_not_learned() -> None:
    model = made("late", pos_embed={"kind": "sinusoidal", "scale": 0.5})
    assert not [name for name, _ in model.named_parameters() if "position" in name]
    none = made("late", pos_embed={"kind": "sinusoidal", "scale": 0})
    none.load_state_dict(model.state_dict())
    clip = {name: torch.randn(1, 5, width) for name, width in FEATURES.items()}
    states = []
    for one in (model, none):
        one.eval()(clip, probe=lambda depth, state: states.append(state) if depth == 0 else None)
    for name in FEATURES:
        difference = states[0].streams[name].x - states[1].streams[name].x
        torch.testing.assert_close(difference, 0.5 * sinusoids(6, model.embed.dim, difference))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scal": 1}, "pos_embed: unknown key 'scal'; did you mean 'scale'"),
        ({"kind": "sinusoid"}, "unknown pos_embed.kind 'sinusoid'; did you mean 'sinusoidal'"),
        ({"scale": -1}, "pos_embed.scale is -1; expected a number, 0 or more"),
        (0.1, "pos_embed is 0.1; expected kind and scale"),
    ],
)
def test_wrong_positions_are_named(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made("late", pos_embed=given)
