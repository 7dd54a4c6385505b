"""Every method can read some of a clip's modalities only, and then no other changes what it says."""

import pytest
import torch

from sparsefuse.methods import build, find, methods

FEATURES = {"rgb": 6, "sound": 4, "flow": 5}


@pytest.mark.parametrize("method", [name for name in methods() if name != "unimodal"])
@pytest.mark.parametrize("read", [["sound"], ["sound", "flow"]])
def test_what_is_not_read_changes_nothing(method: str, read: list[str]) -> None:
    torch.manual_seed(0)
    options = {**find(method).TEST, "stem": {"rgb": {"kind": "patch"}, "sound": {"kind": "patch", "tokens": 2}}}
    model = build(method, FEATURES, 3, lengths={"rgb": 9, "sound": 40, "flow": 7}, modalities=read, **options).eval()
    clips = {name: torch.randn(2, 6, width) for name, width in FEATURES.items()}
    assert set(model.modalities) == set(read)
    with torch.no_grad():
        whole = model(clips).logits
        assert torch.equal(whole, model({**clips, "rgb": clips["rgb"] + 1}).logits)
        assert not torch.equal(whole, model({**clips, "sound": clips["sound"] + 1}).logits)
    alike = build(method, {n: FEATURES[n] for n in read}, 3, **{**options, "stem": {"sound": options["stem"]["sound"]}})
    assert {n: p.shape for n, p in model.named_parameters() if "position" not in n} == {
        n: p.shape for n, p in alike.named_parameters() if "position" not in n
    }


def test_an_option_of_a_modality_that_is_not_read_is_left_out() -> None:
    model = build("sft", FEATURES, 3, keep={"rgb": 2, "sound": 3, "flow": 1}, modalities=["sound"], fusion_depth=1)
    assert model.modalities == ("sound",)
    assert build("sft", FEATURES, 3, keep=None, stride=2, modalities=["sound"]).modalities == ("sound",)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (["sond"], "modalities: unknown modality 'sond'; did you mean 'sound'"),
        ([], r"modalities is \[\]; expected a list of one or more of rgb, sound, flow"),
        ("sound", "modalities is 'sound'; expected a list"),
    ],
)
def test_modalities_that_cannot_be_read_are_an_error(read: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("late", FEATURES, 3, modalities=read)
