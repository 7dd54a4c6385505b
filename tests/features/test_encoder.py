"""Tiny random models, saved as checkpoints: features are what transformers' own forward gives for the same input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsefuse.features import build, extractor, fingerprint
from sparsefuse.features._pictures import pictures
from sparsefuse.features.encoder import Extractor
from sparsefuse.media import File, FileRequest, Frames, FramesRequest, SoundRequest

transformers = pytest.importorskip("transformers", reason="the extra dev brings transformers")

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SQUARE = SMALL | {"image_size": 32, "patch_size": 8}
WAVE = SMALL | {
    "conv_dim": (8, 8),
    "conv_stride": (5, 64),
    "conv_kernel": (10, 64),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embedding_groups": 2,
    "num_conv_pos_embeddings": 4,
}
PREPARED = {"size": {"height": 32, "width": 32}, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
FRAMES = Frames(PIXELS, np.arange(5) / 4)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "rain", "is", "##y"]


def save(folder: Path, config: Any, prepared: dict | None = None, seed: int = 0) -> Any:
    """A random model as transformers saves it, with how its input is prepared."""
    torch.manual_seed(seed)
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(folder)
    if prepared is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(prepared))
    return model


def save_text(folder: Path, config: Any = None) -> Any:
    words = SMALL | {"vocab_size": len(WORDS), "max_position_embeddings": 8}
    model = save(folder, config or transformers.BertConfig(**words))
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=8)
    tokenizer.save_pretrained(folder)
    return model


def normalised(pixels: np.ndarray) -> torch.Tensor:
    """(T, H, W, 3) uint8 to (T, 3, H, W), as PREPARED says."""
    mean, std = np.array(PREPARED["image_mean"]), np.array(PREPARED["image_std"])
    return torch.from_numpy((pixels / 255 - mean) / std).float().permute(0, 3, 1, 2)


def close(found: np.ndarray, expected: torch.Tensor) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-5)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    folder = tmp_path_factory.mktemp("vit")
    return str(folder), save(folder, transformers.ViTConfig(**SQUARE), PREPARED)


def test_frames_and_patches_of_a_picture_model_are_those_of_its_own_forward(vit: tuple[str, Any]) -> None:
    folder, model = vit
    out = model(pixel_values=normalised(PIXELS), output_hidden_states=True)
    close(Extractor(folder).features(FRAMES), out.last_hidden_state[:, 1:].mean(1))  # token 0 is CLS
    close(Extractor(folder, pool="cls").features(FRAMES), out.last_hidden_state[:, 0])
    close(Extractor(folder, output="token").features(FRAMES), out.last_hidden_state[:, 1:].flatten(0, 1))
    assert Extractor(folder, output="token").patches() == out.last_hidden_state.shape[1] - 1  # one is CLS
    assert Extractor(folder).patches() == 1
    close(Extractor(folder, pool="cls", layer=1).features(FRAMES), out.hidden_states[1][:, 0])
    close(Extractor(folder, pool="cls", layer=-2).features(FRAMES), out.hidden_states[-2][:, 0])
    with pytest.raises(ValueError, match="layer is 7, the model has 3"):
        Extractor(folder, layer=7).features(FRAMES)


def test_batches_do_not_change_features(vit: tuple[str, Any]) -> None:
    whole = Extractor(vit[0], batch=8).features(FRAMES)
    for size in (1, 2):
        np.testing.assert_allclose(Extractor(vit[0], batch=size).features(FRAMES), whole, atol=1e-5)


def test_half_precision_is_near_and_comes_back_as_float32(vit: tuple[str, Any]) -> None:
    found, exact = Extractor(vit[0], dtype="bfloat16").features(FRAMES), Extractor(vit[0]).features(FRAMES)
    assert found.dtype == np.float32
    assert not np.array_equal(found, exact)
    np.testing.assert_allclose(found, exact, atol=0.05)  # bfloat16 has 8 bits


def test_a_film_is_squeezed_by_the_decoder_or_prepared_whole(vit: tuple[str, Any], tmp_path: Path) -> None:
    assert build("encoder", {"model": vit[0], "rate": 2}).request() == FramesRequest(rate=2, size=(32, 32))
    save(
        tmp_path,
        transformers.ViTConfig(**SQUARE),
        PREPARED | {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": 32},
    )
    made = Extractor(str(tmp_path))
    assert made.request() == FramesRequest(rate=4, size=None)
    wide = np.random.default_rng(1).integers(0, 256, (2, 40, 60, 3), dtype=np.uint8)
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    expected = model(pixel_values=normalised(wide[:, 4:36, 14:46])).last_hidden_state[:, 1:].mean(1)
    close(made.features(Frames(wide, np.arange(2))), expected)


def test_the_model_is_loaded_once(vit: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    loads, load = [], transformers.AutoModel.from_pretrained
    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", lambda *a, **k: loads.append(k) or load(*a, **k))
    (Path(vit[0]) / "note.txt").touch()  # whatever other tests loaded is of another state of the folder
    made = Extractor(vit[0])
    made.features(FRAMES)
    made.features(FRAMES)
    Extractor(vit[0], output="token").features(FRAMES)
    assert [(k["use_safetensors"], k["trust_remote_code"]) for k in loads] == [(True, False)]


def test_another_model_in_the_folder_is_noticed(tmp_path: Path) -> None:
    options = {"model": str(tmp_path)}
    save(tmp_path, transformers.ViTConfig(**SQUARE), PREPARED)
    build("encoder", options).features(FRAMES)
    marks = [fingerprint("encoder", options) for _ in range(2)]
    new = save(tmp_path, transformers.ViTConfig(**SQUARE), PREPARED, seed=1)
    marks.append(fingerprint("encoder", options))
    expected = new(pixel_values=normalised(PIXELS)).last_hidden_state[:, 1:].mean(1)
    close(build("encoder", options).features(FRAMES), expected)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPARED | {"image_mean": [0, 0, 0]}))
    marks.append(fingerprint("encoder", options))
    assert [marks[0] == marks[1], marks[1] == marks[2], marks[2] == marks[3]] == [True, False, False]


def test_a_model_that_does_not_go_is_named_before_any_work(vit: tuple[str, Any], tmp_path: Path) -> None:
    def message(**options: Any) -> str:
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            fingerprint("encoder", options)
        return str(caught.value)

    assert "there is no such folder; models that come in a package are" in message(model=str(tmp_path / "gone"))
    assert "has no config.json" in message(model=str(tmp_path))
    assert "output is clip, and" in message(model=vit[0], output="clip")
    assert "reads vision; expected frame or token" in message(model=vit[0], output="clip")
    assert "reads vision, not audio" in message(model=vit[0], reads="audio")
    config = json.loads((Path(vit[0]) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "has no .safetensors, no weights" in message(model=str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    assert "only pytorch_model.bin: pickles, which can run code when opened" in message(model=str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine"}}))
    (tmp_path / "mine.py").write_text("raise SystemExit('it ran')")
    assert "needs code of its own, which is not run" in message(model=str(tmp_path))


def test_missing_weights_and_settings_are_named(vit: tuple[str, Any], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in Path(vit[0]).iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(Path(vit[0]) / "model.safetensors")
    lost = next(name for name in tensors if "layernorm" in name and "pooler" not in name)
    save_file({k: v for k, v in tensors.items() if k != lost}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=f"lacks 1 weights, such as .*{lost.rsplit('.', 2)[1]}"):
        Extractor(str(tmp_path)).features(FRAMES)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"has no preprocessor_config\.json, which says how its input is prepared"):
        Extractor(str(tmp_path)).request()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"model": "a", "batch": 0}, "batch is 0"), ({"model": "a", "rate": 0}, "rate is 0"), ({}, "model")],
)
def test_a_wrong_option_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("encoder", options)


def test_sub_words_of_a_text_model_come_in_pieces_it_can_read(tmp_path: Path) -> None:
    model = save_text(tmp_path)
    (tmp_path / "said.srt").write_text("00:00:00,000 --> 00:00:09,000\nthe rainy the is rain snow is the\n")
    ids = [[2, 4, 5, 7, 4, 6, 5, 3], [2, 1, 6, 4, 3]]  # CLS the rain ##y the is rain SEP, CLS UNK is the SEP
    rows = [model(input_ids=torch.tensor([piece])).last_hidden_state[0] for piece in ids]
    made = build("encoder", {"model": str(tmp_path)})
    assert made.request() == FileRequest(parts=True)
    close(made.features(File(tmp_path / "said.srt")), torch.cat([row[1:-1] for row in rows]))
    clip = Extractor(str(tmp_path), output="clip").features(File(tmp_path / "said.srt"))
    close(clip, torch.stack([row[1:-1].mean(0) for row in rows]))
    cls = Extractor(str(tmp_path), output="clip", pool="cls").features(File(tmp_path / "said.srt"))
    close(cls, torch.stack([row[0] for row in rows]))
    same = extractor("text")(tmp_path / "said.srt", model=str(tmp_path))
    close(same, torch.cat([row[1:-1] for row in rows]))
    part = extractor("text")(tmp_path / "said.srt", model=str(tmp_path), start=0, end=2)  # the rainy: 9 s are 8 words
    close(part, model(input_ids=torch.tensor([[2, 4, 5, 7, 3]])).last_hidden_state[0, 1:-1])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["dinov2_with_registers", "siglip", "clip", "swin", "convnext"])
def test_picture_models_of_other_families(tmp_path: Path, family: str) -> None:
    pair = {"text_config": SMALL | {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1}, "vision_config": SQUARE}
    config, front, count = {
        "dinov2_with_registers": (
            lambda: transformers.Dinov2WithRegistersConfig(
                hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
            ),
            5,
            16,
        ),
        "siglip": (lambda: transformers.SiglipConfig(**pair), 0, 16),
        "clip": (lambda: transformers.CLIPConfig(**pair), 1, 16),
        "swin": (
            lambda: transformers.SwinConfig(
                embed_dim=8, depths=[1, 1], num_heads=[1, 1], image_size=32, patch_size=4, window_size=2
            ),
            0,
            16,
        ),
        "convnext": (lambda: transformers.ConvNextConfig(depths=[1, 1], hidden_sizes=[8, 8], num_stages=2), 0, 16),
    }[family]
    model = save(tmp_path, config(), PREPARED)
    inner = model.vision_model if family in ("siglip", "clip") else model
    out = inner(pixel_values=normalised(PIXELS)).last_hidden_state
    if out.ndim == 4:
        out = out.flatten(2).transpose(1, 2)
    tokens = Extractor(str(tmp_path), output="token").features(FRAMES)
    assert len(tokens) == 5 * count
    close(tokens, out[:, front:].flatten(0, 1))
    close(Extractor(str(tmp_path)).features(FRAMES), out[:, front:].mean(1))
    if not front:
        with pytest.raises(ValueError, match="has no CLS token; use mean"):
            Extractor(str(tmp_path), pool="cls").features(FRAMES)


@pytest.mark.slow
def test_of_a_pair_the_text_half_is_used_for_text(tmp_path: Path) -> None:
    words = SMALL | {"vocab_size": len(WORDS), "max_position_embeddings": 8, "bos_token_id": 2, "eos_token_id": 3}
    model = save_text(tmp_path, transformers.CLIPConfig(text_config=words, vision_config=SQUARE))
    (tmp_path / "a.txt").write_text("the rain is")
    out = model.text_model(input_ids=torch.tensor([[2, 4, 5, 6, 3]])).last_hidden_state[0]
    close(extractor("text")(tmp_path / "a.txt", model=str(tmp_path)), out[1:-1])


@pytest.mark.slow
def test_clap_takes_ten_seconds_at_once(tmp_path: Path) -> None:
    listens = {"patch_embeds_hidden_size": 8, "depths": [1] * 4, "num_attention_heads": [1] * 4, "hidden_size": 64}
    words = SMALL | {"vocab_size": 50}
    model = save(tmp_path, transformers.ClapConfig(text_config=words, audio_config=listens))
    listener = transformers.ClapFeatureExtractor(truncation="rand_trunc")
    listener.save_pretrained(tmp_path)
    sound = np.resize(SOUND, 48000 * 11)  # 10 s and 1 s, which is repeated
    rows = []
    for piece in (sound[:480000], sound[480000:]):
        inputs = listener(piece, sampling_rate=48000, return_tensors="pt")
        rows.append(model.audio_model(**inputs).last_hidden_state[0].flatten(1).mean(1))
    close(Extractor(str(tmp_path), output="clip").features(sound), torch.stack(rows))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["videomae", "timesformer", "vivit", "vjepa2"])
def test_video_models_read_pieces_whose_last_frame_is_repeated(tmp_path: Path, family: str) -> None:
    config, front = {
        "videomae": (lambda: transformers.VideoMAEConfig(**SQUARE, num_frames=4), 0),
        "timesformer": (lambda: transformers.TimesformerConfig(**SQUARE, num_frames=4), 1),
        "vivit": (
            lambda: transformers.VivitConfig(**SMALL, image_size=32, num_frames=4, tubelet_size=[2, 8, 8]),
            1,
        ),
        "vjepa2": (
            lambda: transformers.VJEPA2Config(
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                crop_size=32,
                patch_size=8,
                frames_per_clip=4,
                pred_hidden_size=16,
                pred_num_attention_heads=2,
                pred_num_hidden_layers=1,
            ),
            0,
        ),
    }[family]
    model = save(tmp_path, config(), PREPARED)
    pieces = normalised(np.concatenate([PIXELS, PIXELS[[4, 4, 4]]])).unflatten(0, (2, 4))
    if family == "vjepa2":
        out = model(pixel_values_videos=pieces, skip_predictor=True).last_hidden_state
    else:
        out = model(pixel_values=pieces).last_hidden_state
    close(Extractor(str(tmp_path), output="token").features(FRAMES), out[:, front:].flatten(0, 1))
    close(Extractor(str(tmp_path), batch=1).features(FRAMES), out[:, front:].mean(1))
    with pytest.raises(ValueError, match="reads video; expected clip or token"):
        fingerprint("encoder", {"model": str(tmp_path), "output": "frame"})


SOUND = np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_wave_models_hear_pieces_of_equal_length(tmp_path: Path, family: str) -> None:
    config = {"wav2vec2": transformers.Wav2Vec2Config, "hubert": transformers.HubertConfig}[family](**WAVE)
    model = save(tmp_path, config)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    made = Extractor(str(tmp_path), seconds=0.4)
    assert made.request() == SoundRequest(16000)
    rows = []
    for piece in (SOUND[:6400], SOUND[6400:12800], SOUND[12800:]):
        wave = (piece - piece.mean()) / np.sqrt(piece.var() + 1e-7)
        rows.append(model(input_values=torch.from_numpy(wave)[None]).last_hidden_state[0])
    close(made.features(SOUND), torch.cat(rows))
    close(Extractor(str(tmp_path), seconds=0.4, batch=1).features(SOUND), torch.cat(rows))
    clips = Extractor(str(tmp_path), seconds=0.4, output="clip").features(SOUND)
    close(clips, torch.stack([row.mean(0) for row in rows]))
    assert len(made.features(SOUND[:10])) > 0  # shorter than the convolutions


@pytest.mark.slow
def test_a_spectrogram_model_gives_tokens_by_time_where_sound_is(tmp_path: Path) -> None:
    config = transformers.ASTConfig(**SMALL, max_length=64, num_mel_bins=32, patch_size=16)
    model = save(tmp_path, config)
    listener = transformers.ASTFeatureExtractor(max_length=64, num_mel_bins=32)
    listener.save_pretrained(tmp_path)
    sound = SOUND[:15360]  # 0.64 s and 0.32 s
    rows = []
    for piece, columns in ((sound[:10240], 5), (sound[10240:], 3)):  # 64 frames are 5 patches, a half is 2.5
        out = model(**listener(piece, sampling_rate=16000, return_tensors="pt")).last_hidden_state[0, 2:]
        rows.append(torch.stack([out[row * 5 + column] for column in range(columns) for row in range(2)]))
    close(Extractor(str(tmp_path)).features(sound), torch.cat(rows))
    close(Extractor(str(tmp_path), output="clip").features(sound), torch.stack([row.mean(0) for row in rows]))
    with pytest.raises(ValueError, match=r"seconds is 2, and .* takes 0\.64 s at once"):
        Extractor(str(tmp_path), seconds=2).features(sound)


@pytest.mark.slow
def test_of_whisper_the_encoder_is_used(tmp_path: Path) -> None:
    config = transformers.WhisperConfig(
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        vocab_size=60,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    model = save(tmp_path, config)
    listener = transformers.WhisperFeatureExtractor()
    listener.save_pretrained(tmp_path)
    out = model.get_encoder()(**listener(SOUND, sampling_rate=16000, return_tensors="pt")).last_hidden_state[0]
    close(Extractor(str(tmp_path)).features(SOUND), out[:50])  # 1 of 30 s


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"size": {"height": 24, "width": 20}, "resample": 3}, (24, 20)),
        ({"size": 24}, (24, 24)),
        ({"size": {"shortest_edge": 24}, "do_center_crop": True, "crop_size": {"height": 20, "width": 22}}, (20, 22)),
        ({"size": 24, "do_center_crop": True, "crop_size": 20}, (20, 20)),
        ({"size": {"shortest_edge": 24}, "resample": 3}, (24, 33)),
    ],
)
def test_pixels_are_prepared_as_transformers_does(settings: dict, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 50, 70, 3), dtype=np.uint8)
    settings = PREPARED | {"resample": 2} | settings
    found = pictures("tiny", settings).prepare(pixels)
    assert found.shape == (2, 3, *shape)
    theirs = transformers.CLIPImageProcessorPil if "do_center_crop" in settings else transformers.ViTImageProcessorPil
    own = {"do_convert_rgb": False} | settings
    expected = theirs(**own)(list(pixels), return_tensors="pt")["pixel_values"]
    assert expected.shape == found.shape
    # Pillow rounds between its two passes as torch does; a step of 1/255 over the smallest deviation is 0.02.
    np.testing.assert_allclose(found, expected, atol=0.021)


def test_settings_that_are_not_known_are_refused() -> None:
    with pytest.raises(ValueError, match="resample is 1, expected one of"):
        pictures("tiny", PREPARED | {"resample": 1})
    with pytest.raises(ValueError, match=r"size is {'longest_edge': 9}, expected height and width, or shortest_edge"):
        pictures("tiny", PREPARED | {"size": {"longest_edge": 9}})
    with pytest.raises(ValueError, match="has no image_std"):
        pictures("tiny", {"size": 9, "image_mean": [0, 0, 0]})
