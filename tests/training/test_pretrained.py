"""A ViT that transformers saved gives here what it gives there."""

import json
from pathlib import Path

import pytest
import torch

import tiny
from sparsefuse.files import checkpoint
from sparsefuse.layers.block import Block
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.head import Head
from sparsefuse.layers.streams import PerStream
from sparsefuse.methods import build
from sparsefuse.model import FusionModel
from sparsefuse.tokens import Tokens
from sparsefuse.training import pretrained
from sparsefuse.training.train import train

transformers = pytest.importorskip("transformers", reason="the extra dev brings transformers")

SIZE, PATCH, DIM = 8, 4, 12
PICTURE = {"height": SIZE, "width": SIZE, "channels": 3, "patch": PATCH}
EXACT = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def theirs():
    """Two layers with an MLP three times as wide; no weight is 0 or 1, as some are at the start."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=DIM, num_hidden_layers=2, num_attention_heads=3, intermediate_size=36, image_size=SIZE,
        patch_size=PATCH,
    )  # fmt: skip
    model = transformers.ViTModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


@pytest.fixture(scope="module")
def folder(theirs, tmp_path_factory):
    path = tmp_path_factory.mktemp("vit")
    theirs.save_pretrained(path)
    return path


def ours(patches, *, features, lengths, dim=DIM, num_heads=3, mlp_ratio=3.0, depth=2):
    names = tuple(features)
    layers = [PerStream(names, lambda _: Block(dim, num_heads, mlp_ratio=mlp_ratio, style="vit")) for _ in range(depth)]
    return FusionModel(Embed(features, dim, lengths, patches), layers, Head(dim, 2, names), features=features).eval()


def started(folder, grid, length, **options):
    features = {"a": grid["height"] * grid.get("width", 1) * grid.get("channels", 1)}
    model = ours({"a": grid}, features=features, lengths={"a": length}, **options)
    pretrained.start(model, folder)
    return model


@torch.no_grad()
def states(model, x):
    """Tokens after the embedding and after the last norm."""
    seen = []
    tokens = {"a": Tokens(x, torch.ones(x.shape[:2], dtype=torch.bool))}
    model(tokens, probe=lambda _, state: seen.append(state.streams["a"].x))
    return seen[0], model.head.norm(seen[-1])


def frames(pictures):
    """(B, 3, H, W) -> one frame each: (B, 1, H * W * 3)."""
    return pictures.permute(0, 2, 3, 1).flatten(1)[:, None]


@torch.no_grad()
def test_patch_tokens_and_the_encoders_output_are_those_of_transformers(theirs, folder):
    pictures = torch.randn(2, 3, SIZE, SIZE)
    first, last = states(started(folder, PICTURE, 1), frames(pictures))
    torch.testing.assert_close(first, theirs.embeddings(pictures), **EXACT)
    torch.testing.assert_close(last, theirs(pictures).last_hidden_state, **EXACT)


@torch.no_grad()
def test_positions_are_resized_to_larger_pictures_as_transformers_does(theirs, folder):
    pictures = torch.randn(2, 3, 16, 12)
    first, _ = states(started(folder, {**PICTURE, "height": 16, "width": 12}, 1), frames(pictures))
    torch.testing.assert_close(first, theirs.embeddings(pictures, interpolate_pos_encoding=True), **EXACT)


@torch.no_grad()
def test_a_spectrogram_is_a_grey_picture_of_time_and_bins(theirs, folder):
    bins = torch.randn(2, 16, SIZE)  # 16 frames
    grid = {"height": SIZE, "patch": PATCH, "time": PATCH}
    first, _ = states(started(folder, grid, 16), bins)
    pictures = bins[:, None].expand(-1, 3, -1, -1)
    torch.testing.assert_close(first, theirs.embeddings(pictures, interpolate_pos_encoding=True), **EXACT)


@torch.no_grad()
def test_a_tubelet_sees_its_middle_frame_and_positions_repeat_over_time(theirs, folder):
    pictures = torch.randn(2, 3, SIZE, SIZE)
    noise = torch.randn(2, 3, SIZE, SIZE)
    clip = torch.cat([frames(x) for x in (noise, pictures, noise, pictures)], 1)
    first, _ = states(started(folder, {**PICTURE, "time": 2}, 4), clip)
    expected = theirs.embeddings(pictures)
    torch.testing.assert_close(first, torch.cat([expected, expected[:, 1:]], 1), **EXACT)


def test_every_stream_starts_from_the_same_weights(folder):
    model = ours(
        {"a": PICTURE, "b": {"height": 8, "patch": 4, "time": 4}}, features={"a": 192, "b": 8}, lengths={"a": 1, "b": 8}
    )
    pretrained.start(model, folder)
    for layer in model.layers:
        one, other = (block.state_dict() for block in layer.blocks)
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(
        model.layers[0].blocks[0].attention.qkv.weight, model.layers[1].blocks[0].attention.qkv.weight
    )


def test_another_eps_is_said(theirs, folder, tmp_path, caplog):
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-6}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    started(tmp_path, PICTURE, 1)
    assert "adds 1e-06 to the variance in its norms, the model 1e-12" in caplog.text


def test_a_classifier_that_transformers_saved_is_read_too(theirs, folder, tmp_path):
    whole = transformers.ViTForImageClassification(theirs.config)
    whole.vit.load_state_dict(theirs.state_dict(), strict=False)
    whole.save_pretrained(tmp_path)
    one, other = (pretrained.read_vit(path) for path in (folder, tmp_path))
    assert torch.equal(one.kernel, other.kernel)
    assert all(torch.equal(one.blocks[1][name], other.blocks[1][name]) for name in one.blocks[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 15}, "is 12 wide, the model 15; set dim to 12"),
        ({"num_heads": 4}, "has 3 heads, the model 4; set num_heads to 3"),
        (
            {"mlp_ratio": 4.0},
            r"mlp.1.weight of shape \(36, 12\), the model \(48, 12\).* mlp_ratio 3",
        ),
        ({"depth": 3}, "has 2 layers, the model 3"),
        ({"depth": 0}, "no ViT blocks"),
    ],
)
def test_another_shape_is_an_error_that_says_what_to_set(folder, options, message):
    with pytest.raises(ValueError, match=message):
        started(folder, PICTURE, 1, **options)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({**PICTURE, "patch": 2}, "patches of 4 x 4 x 3, and 'a' patches of 2 x 2 x 3; set its patch 4"),
        ({"height": 8, "patch": 4, "time": 2}, "'a' patches of 2 x 4 x 1; set its time 4 and patch 4"),
        ({**PICTURE, "channels": 2}, "with 1 or 3 channels"),
    ],
)
def test_other_patches_are_an_error_that_says_what_to_set(folder, grid, message):
    with pytest.raises(ValueError, match=message):
        started(folder, grid, 8)


def test_a_pickled_checkpoint_is_refused(folder, tmp_path):
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(FileNotFoundError, match=r"no .safetensors file, only config.json, pytorch_model.bin; a pickle"):
        pretrained.read_vit(tmp_path)


def test_another_kind_of_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
    with pytest.raises(ValueError, match="of type 'dinov2'; expected 'vit'"):
        pretrained.read_vit(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        pretrained.read_vit(tmp_path / "nowhere")


def test_crossed_blocks_start_from_the_checkpoint(folder):
    """q, and k with v, are parts of the same weights; the second layer is the first of fusion."""
    features, grid = {"a": 48}, {"height": 4, "width": 4, "channels": 3, "patch": 4}
    sizes = {"dim": DIM, "num_heads": 3, "mlp_ratio": 3.0, "style": "vit", "unimodal_depth": 1, "fusion_depth": 1}
    model = build("mbt", features, 2, lengths={"a": 2}, patches={"a": grid}, fusion="cross", **sizes)
    pretrained.start(model, folder)
    weights = pretrained.read_vit(folder).blocks[1]
    block = model.layers[1].each.blocks[0]
    both = torch.cat([block.attention.q.weight, block.attention.kv.weight])
    assert torch.equal(both, weights["attention.qkv.weight"])
    assert torch.equal(block.mlp[4].weight, weights["mlp.4.weight"])


def test_training_starts_from_the_checkpoint(folder, tmp_path):
    """With a rate of 0 it ends there, too."""
    options = {"dim": DIM, "num_heads": 3, "mlp_ratio": 3.0, "style": "vit", "unimodal_depth": 1, "fusion_depth": 1}
    options["patches"] = {"sound": {"height": 4, "patch": 4, "time": 4}}
    manifest = tiny.write_set(tmp_path / "data")
    config = tiny.config(manifest, "mbt", options=options, lr=0.0, epochs=1, pretrained=str(folder))
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    found = checkpoint.load(run / "model.safetensors").tensors
    blocks = pretrained.read_vit(folder).blocks
    for stream in (0, 1):
        for place, weights in zip(("0.blocks", "2.each.blocks"), blocks, strict=True):  # 1 adds the bottleneck
            for name, expected in weights.items():
                assert torch.equal(found[f"model/layers.{place}.{stream}.{name}"], expected), name
