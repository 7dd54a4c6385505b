"""Bad input costs what is bad and no more: training goes on, and names each loss once with a reason."""

import errno
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import tiny
from command import call
from sparsefuse.files import checkpoint, whole
from sparsefuse.files.skipped import Unusable
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result
from sparsefuse.training.progress import EpochProgress
from sparsefuse.training.train import train


def spoiled(folder: Path) -> Path:
    """A set of 12 + 4 + 4 clips with one of each fault, each in a clip of its own."""
    manifest = tiny.write_set(folder, (12, 4, 4))
    features = folder / "features"
    nan = np.load(features / "train0-rgb.npy")
    nan[1, 2] = np.nan
    np.save(features / "train0-rgb.npy", nan)
    np.save(features / "train2-sound.npy", np.zeros((3, 7), dtype=np.float32))
    np.save(features / "train3-rgb.npy", np.zeros((0, 5), dtype=np.float32))
    (features / "train4-sound.npy").unlink()
    whole = (features / "train5-rgb.npy").read_bytes()
    (features / "train5-rgb.npy").write_bytes(whole[: len(whole) // 2])
    (features / "valid0-rgb.npy").write_bytes(b"")
    for name in tiny.FEATURES:
        (features / f"train6-{name}.npy").unlink()
    tiny.edit(
        manifest,
        train7={"label": ""},
        train8={"rgb": "features/model.pkl"},
        train9={"label": "only once"},
        test0={"label": "never seen"},
    )
    return manifest


REASONS = {
    ("train0", "rgb"): "features/train0-rgb.npy: 1 of 20 values are NaN or infinite, the first at row 1, column 2",
    ("train2", "sound"): "sound has 7 features, the others have 4",
    ("train3", "rgb"): "is empty, shape (0, 5)",
    ("train4", "sound"): "file not found",
    ("train5", "rgb"): "truncated or not a .npy file",
    ("train6", "rgb"): "file not found",
    ("train6", "sound"): "file not found",
    ("train6", ""): "no usable modality",
    ("train7", ""): "the label is empty",
    ("train8", "rgb"): "a pickle can run code when it is opened",
    ("valid0", "rgb"): "the file is empty (0 bytes)",
    ("test0", ""): "label not seen in training: unknown class 'never seen'",
}


def test_training_goes_on_and_names_every_loss_once(tmp_path: Path) -> None:
    run = train(tiny.config(spoiled(tmp_path / "data")), tmp_path / "run", root=Path(), measured=False)
    losses = tiny.skipped(run)
    assert Counter((loss["id"], loss["modality"]) for loss in losses) == dict.fromkeys(REASONS, 1)
    for loss in losses:
        assert REASONS[loss["id"], loss["modality"]] in loss["reason"]
    result = json.loads((run / "result.json").read_text())
    assert result["skipped"] == len(REASONS)
    assert result["splits"] == {"train": 10, "valid": 4, "test": 3}
    assert result["classes"] == ["a", "b", "c", "only once"]
    assert result["per_class_ap"][3] is None, "a class that the test split lacks has no average precision"
    assert tiny.epochs(run)[-1]["epoch"] == 2


def test_strict_stops_at_the_first_loss_and_names_it(tmp_path: Path) -> None:
    config = tiny.with_data(tiny.config(spoiled(tmp_path / "data")), strict=True)
    with pytest.raises(Unusable, match=r"sample train0: .*NaN"):
        train(config, tmp_path / "run", root=Path(), measured=False)


def test_a_duplicate_id_is_an_error_that_names_both_lines(tmp_path: Path) -> None:
    manifest = tiny.write_set(tmp_path / "data")
    tiny.edit(manifest, train5={"id": "train2"})
    with pytest.raises(ValueError, match="id 'train2' is on lines 4 and 7"):
        train(tiny.config(manifest), tmp_path / "run", root=Path(), measured=False)


def test_a_class_with_one_clip_trains_under_every_split(tmp_path: Path) -> None:
    manifest = tiny.write_set(tmp_path / "data")
    tiny.edit(manifest, train4={"label": "alone"})
    config = tiny.config(manifest, epochs=1)
    split = type(config.data.split)(by="stratified")
    run = train(tiny.with_data(config, split=split), tmp_path / "run", root=Path(), measured=False)
    assert "alone" in json.loads((run / "result.json").read_text())["classes"]


def leaky(folder: Path) -> Path:
    """A set of which one test clip has the sound of a training clip, in a file of its own."""
    manifest = tiny.write_set(folder)
    (folder / "features/test2-sound.npy").write_bytes((folder / "features/train4-sound.npy").read_bytes())
    return manifest


def test_a_clip_in_two_splits_stops_training_before_it_begins(tmp_path: Path, monkeypatch) -> None:
    config = tiny.config(leaky(tmp_path / "data"))
    with pytest.raises(ValueError, match=r"leak-content: sound: 2 samples \(train4, test2\) .*set data.leaks=warn"):
        train(config, tmp_path / "run", root=Path(), measured=False)
    assert not (tmp_path / "run").exists()
    options = ("--no-baseline", "--methods", "late", "--seeds", "0", "--train.device", "cpu", "--jobs", "1")
    ended = call(monkeypatch, "compare", config.data.manifest, *options, "--out", tmp_path / "grid")
    assert str(ended).startswith("1 run failed:")
    assert "leak-content: sound: 2 samples (train4, test2)" in str(ended)


def test_a_leak_is_said_before_training_that_goes_on_if_it_may(tmp_path: Path, caplog, monkeypatch) -> None:
    manifest = leaky(tmp_path / "data")
    tiny.edit(manifest, test3={"rgb": "features/train5-rgb.npy"}, valid0={"rgb": "features/train5-rgb.npy"})
    epoch = EpochProgress.epoch
    monkeypatch.setattr(EpochProgress, "epoch", lambda *args: (said.append(caplog.text), epoch(*args)))
    said: list[str] = []
    train(tiny.with_data(tiny.config(manifest), leaks="warn"), tmp_path / "run", root=Path(), measured=False)
    assert "leak-file: rgb: 3 samples (train5, valid0, test3) have the same file features/train5-rgb.npy" in said[0]
    assert "leak-content: sound: 2 samples (train4, test2)" in said[0]
    warnings = RunFolder(tmp_path / "run").read(Result).warnings
    assert "scores may be too good: leak-file: rgb: 3 samples" in "\n".join(warnings), "the report says so too"
    assert "scores may be too good: leak-content: sound: 2 samples (train4, test2)" in "\n".join(warnings)


def test_a_group_in_two_given_splits_is_a_warning(tmp_path: Path, caplog) -> None:
    manifest = tiny.write_set(tmp_path / "data")
    header, *lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join([f"{header},group", *(f"{line},g{i % 5}" for i, line in enumerate(lines))]) + "\n")
    train(tiny.config(manifest), tmp_path / "run", root=Path(), measured=False)
    assert "leak-group: groups in both train and valid: 4 (g0, g1, g2, g4), and 2 more" in caplog.text


def test_streams_of_one_value_are_no_leak(tmp_path: Path, caplog) -> None:
    manifest = tiny.write_set(tmp_path / "data")
    for name in ("train0", "test0", "valid0"):
        np.save(tmp_path / f"data/features/{name}-rgb.npy", np.zeros((2, 5), np.float32))
    train(tiny.config(manifest), tmp_path / "run", root=Path(), measured=False)
    assert "leak" not in caplog.text


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "features"), "no training row has a usable 'rgb': .*file not found"),
        (lambda folder: (folder / "manifest.csv").write_text("id,rgb,label\n"), "no rows"),
        (lambda folder: (folder / "manifest.csv").write_text(""), "is empty"),
        (lambda folder: (folder / "manifest.csv").unlink(), r"manifest .*manifest\.csv not found"),
    ],
    ids=["no files", "no rows", "nothing", "no manifest"],
)
def test_what_cannot_be_learnt_from_is_an_error_that_leaves_nothing(tmp_path: Path, fault, message: str) -> None:
    manifest = tiny.write_set(tmp_path / "data")
    fault(manifest.parent)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(tiny.config(manifest), tmp_path / "run", root=Path(), measured=False)
    assert not (tmp_path / "run").exists()


def test_one_class_only_is_an_error(tmp_path: Path) -> None:
    manifest = tiny.write_set(tmp_path / "data")
    tiny.edit(manifest, **{f"train{i}": {"label": "a"} for i in range(9)})
    with pytest.raises(ValueError, match="all 9 training labels are 'a'"):
        train(tiny.config(manifest), tmp_path / "run", root=Path(), measured=False)


@pytest.mark.slow
def test_a_disk_that_is_full_leaves_whole_files_and_the_run_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every write in turn, with half a file written."""
    config = tiny.config(tiny.write_set(tmp_path / "data", (5, 3, 3)), "concat", epochs=1)
    complete = train(config, tmp_path / "whole", root=Path(), measured=False)
    wanted = {path.name for path in complete.iterdir()}
    replace = whole.os.replace
    for point in range(len(wanted)):
        left = point

        def full(source: Path, target: Path) -> None:
            nonlocal left
            if tmp_path / "data" not in Path(target).parents:  # once features are old, what is known of them is kept
                left -= 1
            if left < 0:
                content = Path(source).read_bytes()
                Path(source).write_bytes(content[: len(content) // 2])
                raise OSError(errno.ENOSPC, "No space left on device", str(target))
            replace(source, target)

        run = tmp_path / f"full{point}"
        with monkeypatch.context() as patch:
            patch.setattr(whole.os, "replace", full)
            with pytest.raises(OSError, match="No space left"):
                train(config, run, root=Path(), measured=False)
        left_behind = list(run.iterdir()) if run.exists() else []
        assert len(left_behind) == point, "only what was whole is there"
        for path in left_behind:
            if path.suffix == ".safetensors":
                checkpoint.load(path)
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".jsonl":
                [json.loads(line) for line in path.read_text().splitlines()]
        train(config, run, root=Path(), resume=True, measured=False)
        assert {path.name for path in run.iterdir()} == wanted
        assert tiny.epochs(run) == tiny.epochs(complete)
