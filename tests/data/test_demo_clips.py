"""The demo set: real files, even classes, and no way to the class through one modality."""

import csv
import hashlib
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("av")
from sparsefuse.data import demo


def rows_of(manifest):
    with manifest.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    return demo.render(tmp_path_factory.mktemp("demo"), clips=27, seconds=0.5, progress=False)


def test_manifest_names_a_file_for_every_clip(rendered):
    rows = rows_of(rendered)
    assert len(rows) == 27
    assert all((rendered.parent / row["video"]).stat().st_size > 0 for row in rows)


def test_classes_and_splits_are_even():
    pairs = demo._labels_and_splits(360, seed=0)
    assert Counter(label for label, _ in pairs) == dict.fromkeys(demo.CLASSES, 40)
    assert Counter(split for _, split in pairs) == {"train": 216, "valid": 54, "test": 90}
    assert all(count == 24 for (_, split), count in Counter(pairs).items() if split == "train")


def test_every_class_is_in_every_split_of_the_smallest_set(rendered):
    pairs = {(row["label"], row["split"]) for row in rows_of(rendered)}
    assert pairs == {(label, split) for label in demo.CLASSES for split in ("train", "valid", "test")}


def test_one_modality_says_nothing_about_the_other_half_of_the_label():
    pairs = Counter(tuple(label.split("+")) for label, _ in demo._labels_and_splits(360, seed=0))
    assert all(pairs[motion, sound] == 40 for motion in demo.MOTIONS for sound in demo.SOUNDS)


def test_picture_does_not_depend_on_the_sound(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(demo, "write_clip", lambda path, pixels, **options: seen.append((pixels, options["sound"])))
    for sound in demo.SOUNDS:
        demo.fresh_clip(tmp_path / "clip.mp4", label=f"circle+{sound}", seed=3, seconds=0.5)
    for motion in demo.MOTIONS:
        demo.fresh_clip(tmp_path / "clip.mp4", label=f"{motion}+hum", seed=3, seconds=0.5)
    assert all(np.array_equal(seen[0][0], pixels) for pixels, _ in seen[:3])
    assert all(np.array_equal(seen[3][1], sound) for _, sound in seen[3:])


def test_same_seed_gives_the_same_clips(monkeypatch, rendered, tmp_path):
    written = {}  # by path: threads finish in any order
    monkeypatch.setattr(
        demo, "write_clip", lambda path, pixels, **more: written.update({path: (pixels, more["sound"])})
    )
    for folder in ("a", "b"):
        manifest = demo.render(tmp_path / folder, clips=27, seconds=0.5, progress=False)
        assert manifest.read_text() == rendered.read_text()
    for i in range(27):
        (pixels, sound), (pixels_again, sound_again) = (written[tmp_path / f / f"clips/clip_{i:04d}.mp4"] for f in "ab")
        assert np.array_equal(pixels, pixels_again)
        assert np.array_equal(sound, sound_again)


def test_another_seed_gives_other_clips(rendered, tmp_path):
    other = demo.render(tmp_path, clips=27, seconds=0.5, seed=1, progress=False)
    assert other.read_text() != rendered.read_text()


def test_fresh_clip_is_new(rendered, tmp_path):
    old = {digest(path) for path in (rendered.parent / "clips").iterdir()}
    fresh = {digest(demo.fresh_clip(tmp_path / f"{i}.mp4", label="across+hum", seed=i, seconds=0.5)) for i in range(2)}
    assert len(fresh) == 2
    assert not fresh & old


def test_file_names_do_not_tell_the_label(rendered):
    names = sorted((row["id"], row["label"]) for row in rows_of(rendered))
    assert all(name == f"clip_{i:04d}" for i, (name, _) in enumerate(names))
    assert [label for _, label in names] != sorted(label for _, label in names)


@pytest.mark.parametrize("motion", demo.MOTIONS)
def test_brightness_does_not_tell_the_motion(motion):
    means = [demo.picture(motion, np.random.default_rng(i)).mean() for i in range(12)]
    assert 45 < np.mean(means) < 80
    assert np.ptp(means) > 5  # each clip's own brightness varies more than the motions' means


@pytest.mark.parametrize("pattern", demo.SOUNDS)
def test_loudness_stays_in_range(pattern):
    peaks = [np.abs(demo.sound(pattern, np.random.default_rng(i), seconds=1.0)).max() for i in range(6)]
    assert min(peaks) > 0.14
    assert max(peaks) < 0.61
    assert np.ptp(peaks) > 0.1


def test_unknown_class_names_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="unknown demo class 'circle\\+chrip'; did you mean 'circle\\+chirp'"):
        demo.fresh_clip(tmp_path / "clip.mp4", label="circle+chrip", seed=0)


def test_too_few_clips_are_refused(tmp_path):
    with pytest.raises(ValueError, match="27 clips"):
        demo.render(tmp_path, clips=9)
