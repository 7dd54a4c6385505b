import logging

import numpy as np
import pytest

from sparsefuse.data.labels import Labels
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.prepare import prepare
from sparsefuse.files.skipped import Skip, Unusable

GOOD = [
    {"id": "1", "label": "x", "split": "train", "a": np.ones((4, 3)), "b": np.ones((2, 5))},
    {"id": "2", "label": "y", "split": "train", "a": np.ones((6, 3)), "b": ""},
]


def run(manifest, **options):
    rows = {name: [r for r in manifest.rows if r.split == name] for name in ("train", "valid", "test")}
    return prepare(rows, manifest.root, modalities=manifest.modalities, **options)


def clip(id, *, label="x", split="train", a="", b=""):
    return {"id": id, "label": label, "split": split, "a": a, "b": b}


def test_widths_lengths_and_labels_are_measured(clips):
    found = run(clips(GOOD))
    assert found.features == {"a": 3, "b": 5}
    assert found.lengths == {"train": [6, 6], "valid": [], "test": []}
    assert found.labels == Labels("class", ("x", "y"))
    assert found.skips == []


def test_lengths_are_those_after_the_cut(clips):
    found = run(clips(GOOD), fit=Lengths(max_length=3))
    assert found.lengths["train"] == [5, 3]


def test_lengths_are_those_after_resampling(clips):
    found = run(clips(GOOD), fit=Lengths(max_length=3, resample={"a": 10}))
    assert found.lengths["train"] == [12, 10]


def test_resampling_an_unknown_modality_names_the_nearest(clips):
    with pytest.raises(ValueError, match=r"data\.resample: unknown modality 'aa'; did you mean 'a'"):
        run(clips(GOOD), fit=Lengths(resample={"aa": 10}))


def test_a_sample_loses_only_the_modality_that_is_broken(clips):
    bad = clip("3", a=np.array([[1, np.nan, 0.0]]), b=np.ones((2, 5)))
    found = run(clips([*GOOD, bad]))
    assert found.rows["train"][2].files == {"b": "b_3.npy"}
    assert found.lengths["train"][2] == 2
    assert [(s.id, s.modality) for s in found.skips] == [("3", "a")]
    assert "1 of 3 values are NaN or infinite" in found.skips[0].reason


def test_a_sample_without_any_modality_is_dropped(clips):
    found = run(clips([*GOOD, clip("3", a="nowhere.npy", b=np.ones((0, 5)))]))
    assert [row.id for row in found.rows["train"]] == ["1", "2"]
    assert [(s.id, s.modality) for s in found.skips] == [("3", "a"), ("3", "b"), ("3", "")]


def test_the_width_of_most_training_samples_is_right(clips):
    """Test samples have no vote: three of them are wider than the two for training."""
    wide = [clip(str(i), split="test", a=np.ones((1, 31)), b=np.ones((2, 5))) for i in (3, 4, 5)]
    found = run(clips([*GOOD, *wide]))
    assert found.features == {"a": 3, "b": 5}
    assert found.skips[0] == Skip("3", "a", "a has 31 features, the others have 3 (a_3.npy)")
    assert [row.files for row in found.rows["test"]] == [{"b": f"b_{i}.npy"} for i in (3, 4, 5)]


def test_a_label_not_seen_in_training_drops_the_sample(clips):
    found = run(clips([*GOOD, clip("3", label="z", split="test", a=np.ones((1, 3)))]))
    assert found.rows["test"] == []
    assert found.labels.classes == ("x", "y")
    assert found.skips[0].id == "3"
    assert "not seen in training" in found.skips[0].reason


def test_the_label_of_an_unusable_training_sample_is_no_class(clips):
    found = run(clips([*GOOD, clip("3", label="z", a="nowhere.npy")]))
    assert found.labels.classes == ("x", "y")


def test_strict_stops_at_the_first_loss(clips):
    with pytest.raises(Unusable, match=r"sample 3: nowhere\.npy: file not found"):
        run(clips([*GOOD, clip("3", a="nowhere.npy")]), strict=True)


def test_a_trained_models_widths_and_labels_are_kept(clips):
    found = run(
        clips([clip("1", split="test", a=np.ones((1, 3))), clip("2", split="test", label="y", b=np.ones((1, 9)))]),
        labels=Labels("class", ("w", "x")),
        features={"a": 3, "c": 7},
    )
    assert found.features == {"a": 3, "c": 7}
    assert [row.id for row in found.rows["test"]] == ["1"]


def test_a_column_of_media_is_left_out_aloud(clips, caplog):
    rows = [{**row, "video": f"{row['id']}.mp4"} for row in GOOD]
    with caplog.at_level(logging.WARNING):
        found = run(clips(rows))
    assert sorted(found.features) == ["a", "b"]
    assert "'video' holds media" in caplog.text


def test_a_modality_that_is_broken_everywhere_is_an_error(clips):
    with pytest.raises(ValueError, match=r"no training row has a usable 'b': x\.npy: file not found"):
        run(clips([clip("1", a=np.ones((1, 3)), b="x.npy"), clip("2", label="y", a=np.ones((1, 3)))]))


def test_only_media_says_to_extract(clips):
    with pytest.raises(ValueError, match="run `sparsefuse extract` first"):
        run(clips([clip("1", a="1.mp4"), clip("2", label="y", a="2.mp4")]))


def test_no_usable_training_sample_is_an_error_other_splits_do_not_help(clips):
    labels = Labels("class", ("x", "y"))
    with pytest.raises(ValueError, match="no usable training sample; 1 loss, the first is sample 1: label not seen"):
        run(clips([clip("1", label="z", a=np.ones((1, 3))), clip("2", split="test", a=np.ones((1, 3)))]), labels=labels)


def test_no_label_at_all_is_an_error(clips):
    with pytest.raises(ValueError, match="no training row has a label"):
        run(clips([clip("1", label="", a=np.ones((1, 3)))]))
