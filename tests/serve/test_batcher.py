"""Clips that go through the model together get what each gets alone."""

from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest
import served

import tiny
from sparsefuse.inference.predictor import Predictor, load
from sparsefuse.serve.batcher import Batcher
from sparsefuse.serve.numbers import Numbers
from sparsefuse.serve.reader import ClipFeatures
from sparsefuse.training.train import train


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("batcher")
    return load(train(tiny.config(tiny.write_set(folder), epochs=1), folder / "run", root=Path(), measured=False))


def read(predictor: Predictor, clip: dict[str, np.ndarray]) -> ClipFeatures:
    features, missing = predictor.features(clip)
    return ClipFeatures({name: x.numpy() for name, x in features.items()}, missing)


def batches(numbers: Numbers) -> tuple[int, int]:
    """How many batches, how many clips in them."""
    lines = dict(line.split() for line in numbers.text().splitlines() if line.startswith("sparsefuse_batch_size_"))
    return int(lines["sparsefuse_batch_size_count"]), round(float(lines["sparsefuse_batch_size_sum"]))


def test_a_batch_says_what_each_clip_alone_gets(predictor: Predictor) -> None:
    """Of ragged lengths, one of them without a modality."""
    clips = [served.features(seed, length=1 + seed) for seed in range(5)]
    del clips[2]["rgb"]
    numbers = Numbers()
    batcher = Batcher(predictor, numbers, batch=5, wait_ms=10_000, room=10**6)
    found = [batcher.submit(read(predictor, clip)) for clip in clips]
    for answer, clip in zip(found, clips, strict=True):
        alone = predictor.predict_one(clip)
        assert answer.result(20).probabilities == pytest.approx(alone.probabilities, abs=1e-5)
        assert answer.result().missing == alone.missing
    batcher.close()
    assert batches(numbers) == (1, 5)


def test_a_lone_clip_does_not_wait_for_long(predictor: Predictor) -> None:
    batcher = Batcher(predictor, Numbers(), batch=5, wait_ms=1, room=10**6)
    assert batcher.submit(read(predictor, served.features())).result(5).label in "abc"
    batcher.close()


def test_long_clips_make_small_batches(predictor: Predictor) -> None:
    """Each has 2 x 10 tokens, and there is room for 50 with their padding."""
    numbers = Numbers()
    batcher = Batcher(predictor, numbers, batch=8, wait_ms=200, room=50)
    wait([batcher.submit(read(predictor, served.features(length=10))) for _ in range(4)])
    batcher.close()
    assert batches(numbers) == (2, 4)


def test_a_clip_that_breaks_the_model_fails_alone(predictor: Predictor, caplog: pytest.LogCaptureFixture) -> None:
    batcher = Batcher(predictor, Numbers(), batch=3, wait_ms=10_000, room=10**6)
    good = [batcher.submit(read(predictor, served.features(seed))) for seed in range(2)]
    bad = batcher.submit(ClipFeatures({"rgb": np.zeros((2, 99), np.float32)}, {}))
    assert all(answer.result(20).label in "abc" for answer in good)
    with pytest.raises((ValueError, RuntimeError)):
        bad.result(20)
    assert "the model failed on a clip" in caplog.text
    batcher.close()
