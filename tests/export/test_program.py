"""The exported program says what `predict` says: from raw features, for any batch and any lengths."""

import math
import wave
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sparsefuse.data.labels import Labels
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.stats import Stats
from sparsefuse.export.clips import _streams
from sparsefuse.export.parity import parity
from sparsefuse.export.program import Input, Program, pad, wave_of
from sparsefuse.export.sound import Wave, of_windows, tapered
from sparsefuse.features._part import WHOLE
from sparsefuse.features.spectrogram import Extractor, hamming, log_mel
from sparsefuse.inference.predictor import Predictor
from sparsefuse.methods import build
from sparsefuse.runs.records import Calibration

FEATURES = {"rgb": 5, "sound": 4}
FITS = {
    "whole": Lengths(),
    "cut": Lengths(max_length=4),
    "resampled": Lengths(resample={"rgb": 6, "sound": 3}),
    "cut, then one resampled": Lengths(max_length=5, resample={"rgb": 3}),
    "resampled to one": Lengths(resample={"rgb": 1}),
    "windows": Lengths(max_length=3, windows=4),
    "windows of patches": Lengths(max_length=3, windows=4, patches={"rgb": 2}),
    "windows of one, the other resampled": Lengths(max_length=3, resample={"sound": 5}, windows=3),
}


def predictor(fit: Lengths, *, task: str = "class", stats: bool = True) -> Predictor:
    """An untrained model of two modalities."""
    torch.manual_seed(0)
    heads = {"verb": 2, "noun": 1} if task == "heads" else {}
    labels = Labels(task, () if task == "regression" else ("a", "b", "c"), heads)  # type: ignore[arg-type]
    model = build("late", FEATURES, labels.num_outputs, dim=10, num_heads=2, unimodal_depth=1).eval()
    found = Stats({n: torch.randn(f) for n, f in FEATURES.items()}, {n: 1 + torch.rand(f) for n, f in FEATURES.items()})
    calibration = None if task == "regression" else Calibration(2.5, 1, 1.0, 1.0)
    return Predictor(model, labels, found if stats else None, {}, fit, calibration)


def clips() -> list[dict[str, torch.Tensor]]:
    """Short, long, lacking one."""
    torch.manual_seed(1)
    sizes = [{"rgb": 9, "sound": 7}, {"rgb": 1, "sound": 2}, {"sound": 11}, {"rgb": 3}, {"rgb": 4, "sound": 3}]
    return [{name: torch.randn(size, FEATURES[name]) for name, size in clip.items()} for clip in sizes]


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_the_program_says_what_predict_says(fit: Lengths) -> None:
    known = predictor(fit)
    program = Program(known)
    expected = [known.predict_one(clip).probabilities for clip in clips()]
    together = program(*pad(clips(), program.inputs))[1].detach()
    for i, clip in enumerate(clips()):
        alone = program(*pad([clip], program.inputs))[1][0].tolist()
        assert alone == pytest.approx(list(expected[i].values()), abs=1e-5)
        assert together[i].tolist() == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("fit", [Lengths(resample={"sound": 6}), Lengths(max_length=5, resample={"sound": 2})])
def test_patches_are_resampled_alike(fit: Lengths) -> None:
    known = predictor(fit._replace(patches={"sound": 2}))
    program = Program(known)
    given = [{"sound": torch.randn(size, FEATURES["sound"])} for size in (8, 2, 6)]
    said = program(*pad(given, program.inputs))[1]
    for i, clip in enumerate(given):
        assert said[i].tolist() == pytest.approx(list(known.predict_one(clip).probabilities.values()), abs=1e-5)


@pytest.mark.parametrize("task", ["multilabel", "heads", "regression"])
def test_other_tasks_too(task: str) -> None:
    known = predictor(FITS["cut"], task=task, stats=False)
    program = Program(known)
    with torch.no_grad():
        said = program(*pad(clips(), program.inputs))
    for i, clip in enumerate(clips()):
        found = known.predict_one(clip)
        if task == "regression":
            assert len(said) == 1
            assert float(said[0][i]) == pytest.approx(float(found.label), abs=1e-4)
        else:
            assert said[1][i].tolist() == pytest.approx(list(found.probabilities.values()), abs=1e-5)


@pytest.mark.parametrize("lengths", [[16000], [479, 100, 0, 1600], [160, 161, 320], [3]])
@pytest.mark.parametrize("derived", [False, True])
def test_sound_in_a_batch_becomes_what_the_extractor_makes_of_each_alone(lengths: list[int], derived: bool) -> None:
    options: Any = {"bins": 32, "context": 2, "every": 2, "difference": derived, "energy": derived}
    torch.manual_seed(2)
    sounds = [torch.randn(length) / 10 for length in lengths]
    x = torch.full((len(lengths), max(lengths)), math.nan)
    for row, sound in zip(x, sounds, strict=True):
        row[: len(sound)] = sound
    made, count = Wave(**options)(x, torch.tensor(lengths))
    for row, size, sound in zip(made, count, sounds, strict=True):
        expected = (
            Extractor(**options).features(sound.numpy()) if len(sound) else np.empty((0, made.shape[2]), np.float32)
        )
        np.testing.assert_allclose(row[:size].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("bad", ["alone", "together"])
def test_an_exported_output_that_is_nan_is_never_within_the_tolerance(bad: str) -> None:
    labels, logits = Labels("class", ("a", "b")), torch.tensor([[1.0, 2.0], [4.0, 3.0]])
    exported = {"alone": logits, "together": logits, bad: logits * math.nan}
    assert math.isnan(parity(logits, exported["alone"], exported["together"], labels).max_difference)


def test_log_mel_exports_for_any_length() -> None:
    class Module(torch.nn.Module):
        def forward(self, sound: torch.Tensor) -> torch.Tensor:
            windows = tapered(sound, torch.from_numpy(hamming(400)), stride=160)
            return of_windows(windows, rate=16000, bins=128)

    length = torch.export.Dim("length", min=320)
    program = torch.export.export(Module(), (torch.zeros(16000),), dynamic_shapes=({0: length},))
    sound = torch.rand(5000, generator=torch.Generator().manual_seed(0)) - 0.5
    np.testing.assert_allclose(program.module()(sound), log_mel(sound.numpy()), atol=1e-4)


def test_an_exported_model_takes_the_sound_and_channel_of_its_extractor(tmp_path: Path) -> None:
    left = np.sin(np.arange(8000) / 5) / 2
    samples = (np.stack([left, -left], axis=1) * 32767).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    options = {"extractor": "spectrogram", "source": "audio", "rate": 16000, "audio": "first", "channels": "left"}
    front = wave_of(options)
    assert front is not None
    run: Any = SimpleNamespace(
        extract={"sound": options}, media=lambda name, clip: clip[name], part=lambda clip, name: WHOLE
    )
    clip = {"sound": tmp_path / "a.wav"}
    found = _streams(clip, run, [Input("sound", "sound.length", "sound", 1, None, front.rate, options)])
    np.testing.assert_allclose(found["sound"], samples[:, 0] / 32768, atol=1e-4)
