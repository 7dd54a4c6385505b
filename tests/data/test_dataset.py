import json
import tracemalloc

import numpy as np
import pytest
import torch

import tiny
from sparsefuse.data.clips import load_clips
from sparsefuse.data.dataset import ClipDataset
from sparsefuse.data.labels import Labels
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.stats import Stats, measure
from sparsefuse.files.skipped import Skip

LABELS = Labels("class", ("x", "y"))


@pytest.fixture
def manifest(clips):
    rng = np.random.default_rng(0)
    return clips(
        [
            {"id": "1", "label": "y", "a": rng.normal(3, 2, (4, 3)), "b": rng.normal(size=(2, 5))},
            {"id": "2", "label": "x", "a": rng.normal(3, 2, (7, 3)), "b": ""},
        ]
    )


def dataset(manifest, **options):
    return ClipDataset(manifest.rows, LABELS, manifest.root, modalities=manifest.modalities, **options)


def test_a_sample_is_what_is_on_disk(manifest):
    sample = dataset(manifest)[0]
    assert sample.id == "1"
    assert sample.label.item() == 1
    assert sample.features["a"].dtype == torch.float32
    np.testing.assert_array_equal(sample.features["a"], np.load(manifest.root / "a_1.npy").astype(np.float32))
    assert list(dataset(manifest)[1].features) == ["a"]


def test_long_streams_are_cut(manifest):
    cut = dataset(manifest, fit=Lengths(max_length=5))[1].features["a"]
    assert torch.equal(cut, dataset(manifest)[1].features["a"][:5])


def test_what_is_cut_off_is_not_kept_in_memory(clips):
    found = dataset(clips([{"id": "1", "label": "x", "a": np.ones((2**18, 1), np.float32)}]), fit=Lengths(max_length=2))
    found[0]  # a first time, so that imports are not counted
    found._cache.clear()
    tracemalloc.start()
    kept = found[0]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept.features["a"]) == 2
    assert held < 2**19  # of 2**20 bytes read


def test_features_are_normalised(manifest):
    stats = Stats({"a": torch.tensor([1.0, 2.0, 3.0])}, {"a": torch.tensor([1.0, 2.0, 4.0])})
    found = dataset(manifest, stats=stats)[1].features["a"]
    raw = np.load(manifest.root / "a_2.npy")
    np.testing.assert_allclose(found, (raw - [1, 2, 3]) / [1, 2, 4], rtol=1e-5)


@pytest.mark.parametrize(("cache_mb", "hits"), [(1, True), (0, False)])
def test_the_cache_holds_what_fits(manifest, cache_mb, hits):
    clips = dataset(manifest, cache_mb=cache_mb)
    clips[0]
    (manifest.root / "a_1.npy").unlink()
    if hits:
        assert clips[0].id == "1"
    else:
        with pytest.raises(ValueError, match="not found"):
            clips[0]


def test_the_cache_is_bounded(clips):
    """Samples of 0.6 MiB: one fits into 1 MiB, two do not."""
    rows = [{"id": str(i), "label": "x", "a": np.zeros((157, 1000), np.float32)} for i in range(3)]
    found = dataset(clips(rows), cache_mb=1)
    for i in (0, 1, 2, 0):
        found[i]
    assert found._cached_bytes == 157 * 1000 * 4


def test_workers_give_the_same_samples(manifest):
    clips = dataset(manifest)
    loader = torch.utils.data.DataLoader(clips, batch_size=None, num_workers=1)
    for here, there in zip(clips, loader, strict=True):
        assert here.id == there.id
        assert all(torch.equal(here.features[name], there.features[name]) for name in here.features)


def test_stats_are_those_of_all_tokens_together(manifest):
    stats = measure(dataset(manifest))
    tokens = np.concatenate([np.load(manifest.root / f"a_{i}.npy") for i in (1, 2)])
    np.testing.assert_allclose(stats.mean["a"], tokens.mean(0), rtol=1e-6)
    np.testing.assert_allclose(stats.std["a"], tokens.std(0), rtol=1e-6)
    np.testing.assert_allclose(stats.mean["b"], np.load(manifest.root / "b_1.npy").mean(0), rtol=1e-5)


def test_a_constant_feature_becomes_zero(clips):
    """0.1 has no exact float32: the rounding of its mean must not be blown up."""
    rows = [{"id": str(i), "label": "x", "a": np.full((9, 2), [0.1, 1e6 + i])} for i in range(5)]
    manifest = clips(rows)
    stats = measure(dataset(manifest))
    found = torch.cat([s.features["a"] for s in dataset(manifest, stats=stats)])
    assert found[:, 0].abs().max() < 1e-6
    assert found[:, 1].std(correction=0).item() == pytest.approx(1, abs=0.05)  # 1e6 + i is float32 to 1/16


def test_rounding_is_not_blown_up(clips):
    """Values that differ by the last bit of float32 are constant: their spread is noise."""
    column = np.array([[1], [np.nextafter(np.float32(1), np.float32(2))]], np.float32)
    manifest = clips([{"id": "1", "label": "x", "a": column}])
    stats = measure(dataset(manifest))
    assert dataset(manifest, stats=stats)[0].features["a"].abs().max() < 1e-6


def test_tiny_features_are_no_constants(clips):
    rows = [{"id": str(i), "label": "x", "a": np.full((1, 1), 1e-9 * i)} for i in range(2)]
    assert measure(dataset(clips(rows))).std["a"].item() == pytest.approx(5e-10)


def test_stats_survive_a_flat_dict():
    stats = Stats({"a": torch.ones(2)}, {"a": torch.full((2,), 3.0)})
    flat = stats.to_tensors()
    assert sorted(flat) == ["mean/a", "std/a"]
    found = Stats.from_tensors({**flat, "weight": torch.ones(1)})
    assert found.mean["a"].equal(stats.mean["a"])
    assert found.std["a"].equal(stats.std["a"])
    assert list(found.mean) == list(found.std) == ["a"]


def test_what_extraction_left_out_is_known_to_training(tmp_path):
    """Clips that the manifest no longer names, and streams that its clips lack; not what another run left there."""
    manifest = tiny.write_set(tmp_path)
    lines = [("gone", "", "no film"), ("train1", "rgb", "no picture"), ("train0", "", "old"), ("train2", "flow", "old")]
    text = "".join(json.dumps({"id": i, "modality": m, "reason": r}) + "\n" for i, m, r in lines)
    (tmp_path / "skipped.jsonl").write_text(text)
    assert load_clips(tiny.config(manifest).data, tmp_path).skips == [
        Skip("gone", "", "no film"),
        Skip("train1", "rgb", "no picture"),
    ]
