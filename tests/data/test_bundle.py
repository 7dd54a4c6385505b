"""What is exported for other tools reads back as it was, without sparsefuse, and trains as it is."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

import tiny
from sparsefuse.cli.verbs.data import export_features as verb
from sparsefuse.config import Config, Data
from sparsefuse.data import bundle
from sparsefuse.data.bundle import export_features
from sparsefuse.data.clips import load_clips
from sparsefuse.files.rows import read_table
from sparsefuse.files.whole import read_json

LABELS = {"class": "label", "multilabel": "label", "heads": "verb+noun", "regression": "label"}
TASKS = pytest.mark.parametrize("task", LABELS)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Task -> manifest."""
    folders = {task: tmp_path_factory.mktemp(task) for task in LABELS}
    return {task: tiny.write_set(folder, task=task) for task, folder in folders.items()}


def stored(manifest: Path) -> list[tuple[dict[str, str], dict[str, np.ndarray]]]:
    """Cells and arrays of every row, by plain numpy."""
    table = read_table(manifest).rows
    return [(row, {n: np.load(manifest.parent / row[n]) for n in tiny.FEATURES if row[n]}) for row in table]


def export(manifest: Path, out: Path, form: bundle.Format, label: str = "label") -> bundle.Bundle:
    return export_features(Data(manifest=str(manifest), label=label), Path(), out, form)


@TASKS
def test_npz_holds_every_array_bit_for_bit(sets: dict[str, Path], tmp_path: Path, task: str) -> None:
    export(sets[task], tmp_path / "out", "npz", LABELS[task])
    rows = stored(sets[task])
    for split in ("train", "valid", "test"):
        with np.load(tmp_path / "out" / f"{split}.npz", allow_pickle=False) as found:
            expected = [(row, arrays) for row, arrays in rows if row["split"] == split]
            assert found["ids"].tolist() == [row["id"] for row, _ in expected]
            names = LABELS[task].split("+")
            assert found["labels"].tolist() == ["+".join(row[name] for name in names) for row, _ in expected]
            for i, (_, arrays) in enumerate(expected):
                for name in tiny.FEATURES:
                    assert found[f"{name}_lengths"][i] == len(arrays.get(name, ()))
                    assert (f"{name}/{i:06d}" in found) == (name in arrays)
                    if name in arrays:
                        np.testing.assert_array_equal(found[f"{name}/{i:06d}"], arrays[name], strict=True)


def test_npz_targets_are_places_among_the_classes(sets: dict[str, Path], tmp_path: Path) -> None:
    for task, label in LABELS.items():
        export(sets[task], tmp_path / task, "npz", label)
    first = {task: np.load(tmp_path / task / "train.npz", allow_pickle=False) for task in LABELS}
    assert first["class"]["classes"].tolist() == ["a", "b", "c"]
    assert first["class"]["targets"][:4].tolist() == [0, 1, 2, 0]
    assert first["multilabel"]["targets"][:4].tolist() == [[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1]]
    assert first["heads"]["classes"].tolist() == [
        *("verb:put", "verb:take", "verb:wash"),
        *("noun:cup", "noun:plate"),
    ]
    assert first["heads"]["targets"][:3].tolist() == [[1, 1], [0, 0], [2, 0]]
    np.testing.assert_allclose(first["regression"]["targets"][:2], [-1.75, -0.75])


@TASKS
def test_npz_trains_as_it_is(sets: dict[str, Path], tmp_path: Path, task: str) -> None:
    """The same clips, sizes and labels reach training from the export as from the set."""
    export(sets[task], tmp_path / "out", "npz", LABELS[task])
    before = load_clips(Data(manifest=str(sets[task]), label=LABELS[task]), Path())
    after = load_clips(Data(manifest=str(tmp_path / "out" / "manifest.csv"), label=LABELS[task]), Path())
    assert after.fingerprints == before.fingerprints
    assert (after.labels, after.features, after.sizes) == (before.labels, before.features, before.sizes)
    for split, data in before.splits.items():
        for i in range(len(data)):
            assert after.splits[split][i].features.keys() == data[i].features.keys()
            for name, x in data[i].features.items():
                assert after.splits[split][i].features[name].equal(x)


def test_equal_sets_give_equal_files(sets: dict[str, Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(sets["class"], tmp_path / name, "npz")
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["manifest.csv", "skipped.jsonl", "test.npz", "train.npz", "valid.npz"]
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)


@TASKS
def test_datasets_reads_every_array_and_label(sets: dict[str, Path], tmp_path: Path, task: str) -> None:
    datasets = pytest.importorskip("datasets")
    export(sets[task], tmp_path / "out", "hf", LABELS[task])
    found = datasets.load_from_disk(str(tmp_path / "out"))
    rows = stored(sets[task])
    assert list(found) == ["train", "valid", "test"]
    for split, part in found.items():
        expected = [(row, arrays) for row, arrays in rows if row["split"] == split]
        assert part["id"][:] == [row["id"] for row, _ in expected]
        for example, (row, arrays) in zip(part, expected, strict=True):
            for name in tiny.FEATURES:
                if name not in arrays:
                    assert example[name] is None
                else:
                    assert np.array_equal(np.array(example[name], np.float32), arrays[name])
            for column in LABELS[task].split("+"):
                feature, value = part.features[column], example[column]
                if task == "regression":
                    assert value == float(row[column])
                elif task == "multilabel":
                    assert sorted(feature.feature.int2str(value)) == sorted(row[column].split("|"))
                else:
                    assert feature.int2str(value) == row[column]


def test_nothing_else_is_left_in_the_folder(sets: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    export(sets["class"], tmp_path / "out", "hf")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"train", "valid", "test", "dataset_dict.json", "skipped.jsonl"}
    assert read_json(tmp_path / "out" / "dataset_dict.json") == {"splits": ["train", "valid", "test"]}


@pytest.mark.parametrize("form", ["npz", "hf"])
def test_what_cannot_be_used_is_named_and_the_rest_goes_out(tmp_path: Path, form: bundle.Format) -> None:
    manifest = tiny.write_set(tmp_path)
    (tmp_path / "features" / "train2-rgb.npy").write_bytes(b"broken")
    found = export(manifest, tmp_path / "out", form)
    lines = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert [(line["id"], line["modality"]) for line in lines] == [("train2", "rgb")]
    assert len(found.rows["train"]) == 9


def test_an_export_that_fails_leaves_nothing(
    sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    npz = importlib.import_module("sparsefuse.data.bundle.npz")
    monkeypatch.setattr(npz, "write_table", full)  # what it writes last
    with pytest.raises(OSError, match="no space"):
        export(sets["class"], tmp_path / "out", "npz")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_not_written_over(sets: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(sets["class"], tmp_path / "out", "npz")
    before = (tmp_path / "out" / "train.npz").read_bytes()
    with pytest.raises(FileExistsError, match="out exists and is not empty"):
        export(sets["regression"], tmp_path / "out", "npz")
    assert (tmp_path / "out" / "train.npz").read_bytes() == before


def test_the_splits_of_the_configuration_go_out(
    sets: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = tiny.with_data(tiny.config(sets["class"]), modalities=["sound"])
    verb(Config(data=config.data), tmp_path / "out")
    assert capsys.readouterr().out == f"train 9, valid 4, test 4 clips, 0 skipped -> {tmp_path / 'out'}\n"
    with np.load(tmp_path / "out" / "valid.npz") as found:
        assert found["sound_lengths"].shape == (4,)
        assert "rgb_lengths" not in found


def test_an_archive_that_has_changed_is_read_anew(tmp_path: Path) -> None:
    from sparsefuse.data.arrays import read_array

    for value in (1.0, 2.0, 3.0):
        np.savez(tmp_path / "a.npz", x=np.full((2, 2), value), y=np.ones((round(value), 1)))
        assert read_array("a.npz#x", tmp_path)[0, 0] == value
