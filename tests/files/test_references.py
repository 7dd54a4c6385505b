import pytest

from sparsefuse.data.arrays import load
from sparsefuse.files.references import FEATURES, split_ref, suffix
from sparsefuse.files.skipped import Unusable


@pytest.mark.parametrize(
    ("ref", "parts"),
    [
        ("rgb/7.npy", ("rgb/7.npy", "")),
        ("all.npz#7", ("all.npz", "7")),
        ("all.H5#a/b#c", ("all.H5", "a/b#c")),
        ("all.npz#clip.mp4", ("all.npz", "clip.mp4")),
        ("take#3.npy", ("take#3.npy", "")),
        ("run#1/all.npz#7", ("run#1/all.npz", "7")),
        ("room #1/7.tif", ("room #1/7.tif", "")),
        ("room #1/cloud.ply", ("room #1/cloud.ply", "")),
        ("room #1/boxes.json", ("room #1/boxes.json", "")),
        ("all.safetensor#7", ("all.safetensor", "7")),
        ("n/a", ("n/a", "")),
    ],
)
def test_the_key_begins_after_the_first_known_suffix(ref, parts):
    assert split_ref(ref) == parts


def test_a_suffix_is_of_the_file_and_in_lower_case():
    assert [suffix(ref) for ref in ("A.MP4", "all.npz#clip.mp4", "n/a", "")] == [".mp4", ".npz", "", ""]


@pytest.mark.parametrize("kind", sorted(FEATURES))
def test_every_kind_of_feature_file_has_a_reader(tmp_path, kind):
    with pytest.raises(Unusable, match="file not found"):
        load(f"a{kind}", tmp_path)
