"""Feature files of many clips."""

import numpy as np
import pytest

from sparsefuse.data.arrays import read_array
from sparsefuse.data.shards import Shards


def arrays(count):
    return {f"clip {i}#x": np.full((i + 1, 2), i, np.float64) for i in range(count)}


def filled(out, clips, size):
    shards = Shards(out, "vision", size=size)
    refs = {key: shards.add(key, values) for key, values in clips.items()}
    shards.close()
    return refs


def test_every_clip_is_found_by_its_reference(tmp_path):
    clips = arrays(7)
    refs = filled(tmp_path, clips, size=60)
    assert len({ref.split("#")[0] for ref in refs.values()}) == 3  # 8 + 16 + 24 + 32 | 40 + 48 | 56 bytes
    for key, ref in refs.items():
        np.testing.assert_array_equal(read_array(ref, tmp_path), clips[key])


def test_a_smaller_rerun_leaves_nothing_of_the_larger(tmp_path):
    filled(tmp_path, arrays(9), size=60)
    refs = filled(tmp_path, arrays(2), size=60)
    assert [path.name for path in (tmp_path / "features").iterdir()] == ["vision-00000.safetensors"]
    assert read_array(refs["clip 1#x"], tmp_path).tolist() == [[1, 1], [1, 1]]


def test_a_key_cannot_be_given_twice(tmp_path):
    shards = Shards(tmp_path, "vision")
    shards.add("a", np.zeros((1, 1)))
    with pytest.raises(ValueError, match="'a' cannot name a clip's array a second time"):
        shards.add("a", np.zeros((1, 1)))
