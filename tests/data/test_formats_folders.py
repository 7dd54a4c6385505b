"""A folder per class."""

import pytest
from shared_data import shared, touch

from sparsefuse.data import formats
from sparsefuse.data.manifest import read_manifest
from sparsefuse.files.rows import read_table


def test_folders_are_labels_and_files_of_one_stem_are_one_clip(tmp_path, caplog):
    source = tmp_path / "in"
    touch(source, "dog/a.mp4", "dog/a.wav", "cat/a.MP4", "cat/b.npy", "cat/notes.pdf", "loose.mp4", "cat/.hidden.mp4")
    path = formats.prepare("folders", source, tmp_path / "out")
    rows = read_table(path).rows
    up = "../in/"
    assert rows == [
        {"id": "cat/a", "video": f"{up}cat/a.MP4", "audio": "", "features": "", "label": "cat"},
        {"id": "cat/b", "video": "", "audio": "", "features": f"{up}cat/b.npy", "label": "cat"},
        {"id": "dog/a", "video": f"{up}dog/a.mp4", "audio": f"{up}dog/a.wav", "features": "", "label": "dog"},
    ]
    assert (path.parent / rows[0]["video"]).is_file()
    assert "2 files left out" in caplog.text


def test_top_folders_may_be_splits_and_inner_ones_are_groups(tmp_path):
    touch(tmp_path / "in", "train/dog/ann/1.wav", "train/cat/bob/1.wav", "Val/dog/2.wav", "test/cat/eve/x/3.wav")
    rows = read_manifest(formats.prepare("folders", tmp_path / "in", tmp_path / "out")).rows
    assert [(row.id, row.label, row.split, row.group) for row in rows] == [
        ("Val/dog/2", "dog", "valid", ""),
        ("test/cat/eve/x/3", "cat", "test", "eve/x"),
        ("train/cat/bob/1", "cat", "train", "bob"),
        ("train/dog/ann/1", "dog", "train", "ann"),
    ]


def test_a_csv_is_a_clips_sensor_readings(tmp_path):
    touch(tmp_path / "in", "walk/1.csv", "walk/1.mp4", "run/1.csv", "labels.csv")
    rows = read_table(formats.prepare("folders", tmp_path / "in", tmp_path / "out")).rows
    assert [(row["id"], row["video"], row["series"]) for row in rows] == [
        ("run/1", "", "../in/run/1.csv"),
        ("walk/1", "../in/walk/1.mp4", "../in/walk/1.csv"),
    ]


def test_a_class_called_train_is_a_class(tmp_path):
    touch(tmp_path / "in", "train/1.wav", "plane/1.wav")
    rows = read_manifest(formats.prepare("folders", tmp_path / "in", tmp_path / "out")).rows
    assert [(row.label, row.split) for row in rows] == [("plane", ""), ("train", "")]


def test_what_an_earlier_run_wrote_inside_is_no_class(tmp_path):
    touch(tmp_path, "dog/1.wav", "cat/1.wav", "out/features/x.npy")
    rows = read_manifest(formats.prepare("folders", tmp_path, tmp_path / "out")).rows
    assert [row.label for row in rows] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        (["dog/1.wav"], FileNotFoundError, "has no two folders with clips, a class each; found: dog"),
        (["1.pdf"], FileNotFoundError, "found: none"),
        (
            ["1.wav", "2.wav"],
            FileNotFoundError,
            r"in holds clips itself, as the folder of one class does; give the folder above, /.*, if its folders",
        ),
        (["train/dog/1.wav", "train/cat/1.wav", "test/cow/1.wav"], ValueError, "no train clips of cow"),
        (["dog/1.wav", "dog/1.mp3", "cat/1.wav"], ValueError, "both the audio of one clip"),
    ],
)
def test_folders_that_are_no_classes_are_named(tmp_path, caplog, files, error, message):
    touch(tmp_path / "in", *files)
    with pytest.raises(error, match=message):
        formats.prepare("folders", tmp_path / "in", tmp_path / "out")
    assert not caplog.messages, "the error has said it"


STREAMS = {
    "pictures": (["rgb/1.png", "rgb/2.png", "Labels/1.png", "Labels/2.png"], r"folders Labels and rgb .* prepare pict"),
    "below splits": (["train/rgb/1.png", "train/rgb/2.png", "train/depth/1.png", "train/depth/2.png"], "depth and rgb"),
    "clips": (["video/a.mp4", "video/b.mp4", "audio/a.wav", "audio/b.wav"], "audio and video .* with a column each"),
}


@pytest.mark.parametrize(("files", "message"), STREAMS.values(), ids=STREAMS)
def test_folders_that_are_streams_are_no_classes(tmp_path, files, message):
    touch(tmp_path / "in", *files)
    with pytest.raises(ValueError, match=message):
        formats.prepare("folders", tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.csv").exists()


def test_other_names_or_other_files_are_classes(tmp_path):
    touch(tmp_path / "names", "dog/1.png", "dog/2.png", "depth/1.png", "depth/2.png")
    touch(tmp_path / "files", "rgb/1.png", "rgb/2.png", "depth/3.png", "depth/4.png", "depth/2.png")
    for name in ("names", "files"):
        assert len(read_table(formats.prepare("folders", tmp_path / name, tmp_path / "out" / name)).rows) >= 4


def test_links_are_followed_once(tmp_path):
    touch(tmp_path / "in", "dog/1.wav", "cat/1.wav")
    touch(tmp_path / "elsewhere", "2.wav")
    (tmp_path / "in" / "cow").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "dog" / "again").symlink_to(tmp_path / "in")
    ids = [row.id for row in read_manifest(formats.prepare("folders", tmp_path / "in", tmp_path / "out")).rows]
    assert ids == ["cat/1", "cow/2", "dog/1"]


def test_links_into_a_cache_keep_their_names(tmp_path):
    """As a hub's cache, DVC and git-annex store files: by hash, without a suffix."""
    touch(tmp_path / "blobs", "e3b0c442", "9f86d081", "folder/2.wav")
    for clip, blob in (("cat/1.wav", "e3b0c442"), ("dog/1.mp4", "9f86d081"), ("cow", "folder")):
        (tmp_path / "in" / clip).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / clip).symlink_to(tmp_path / "blobs" / blob)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(tmp_path / "in")
    for source in ("in", "elsewhere/link"):
        path = formats.prepare("folders", tmp_path / source, tmp_path / "deep" / "out")
        rows = read_table(path).rows
        assert [row["audio"] or row["video"] for row in rows] == [
            "../../in/cat/1.wav",
            "../../in/cow/2.wav",
            "../../in/dog/1.mp4",
        ]
        assert all((path.parent / (row["audio"] or row["video"])).is_file() for row in rows)


def test_the_real_sounds_are_ten_classes(tmp_path):
    manifest = read_manifest(formats.prepare("folders", shared("esc10"), tmp_path))
    assert (len(manifest.rows), len({row.label for row in manifest.rows})) == (50, 10)
    assert manifest.modalities == ("audio",)
    assert all((manifest.root / row.files["audio"]).is_file() for row in manifest.rows)


def test_runs_beside_classes_are_no_classes(tmp_path, caplog):
    touch(tmp_path / "in", "dog/1.wav", "cat/1.wav", "mine/model.json", "mine/features/dog/1.npy", "begun/clock.json")
    rows = read_table(formats.prepare("folders", tmp_path / "in", tmp_path / "out")).rows
    assert [row["id"] for row in rows] == ["cat/1", "dog/1"]
    assert "2 folders left out, which hold runs and no clips: begun, mine" in caplog.text.replace(
        "mine, begun", "begun, mine"
    )


def test_the_folder_above_that_of_the_classes_is_told_from_it(tmp_path):
    touch(tmp_path, "films/dog/1.wav", "films/cat/1.wav", "mine/model.json", "mine/features/dog/1.npy")
    with pytest.raises(FileNotFoundError, match=rf"found: films; .*; did you mean {tmp_path / 'films'}\?$"):
        formats.prepare("folders", tmp_path, tmp_path / "out")
