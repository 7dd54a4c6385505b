"""MedVidCL: labels and subtitles from JSON."""

import json

import pytest
from shared_data import touch

from sparsefuse.data import formats
from sparsefuse.data.manifest import read_manifest

ENTRY = {"video_id": "UARN7YHOyVw", "video_sub_title": "put the é bandage", "label": "Medical Instructional"}


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    other = {"video_id": "-x", "video_sub_title": "", "label": "Non-medical", "video_title": "t"}
    for name, entries in {"train": [ENTRY, other], "val": [other | {"video_id": "v"}], "test": []}.items():
        (folder / f"{name}.json").write_text(json.dumps(entries))
    touch(folder / "videos", "-x.mp4")
    return folder


def test_subtitles_become_files_and_videos_are_found(source, tmp_path):
    manifest = read_manifest(formats.prepare("medvidcl", source, tmp_path / "out"))
    assert manifest.modalities == ("text", "video")
    one, two = manifest.rows
    assert (one.id, one.label, one.split, one.files) == (
        "UARN7YHOyVw",
        "Medical Instructional",
        "train",
        {"text": "text/UARN7YHOyVw.txt"},
    )
    assert (tmp_path / "out" / "text" / "UARN7YHOyVw.txt").read_text(encoding="utf-8") == "put the é bandage\n"
    assert two.files == {"video": "../in/videos/-x.mp4"}
    assert json.loads((tmp_path / "out" / "skipped.jsonl").read_text()) == {
        "id": "v",
        "modality": "",
        "reason": "no file v.mp4 and no video_sub_title",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", r"train\.json: not JSON"),
        ('{"a": 1}', "holds a dict, expected a list of objects"),
        (json.dumps([{"videoid": "x", "label": "y"}]), "entry 0: unknown key 'video_id'; did you mean 'videoid'"),
        (json.dumps([ENTRY | {"label": " "}]), "entry 0: label is empty"),
        (json.dumps([ENTRY | {"video_id": "../x"}]), r"'\.\./x' names a file"),
        (json.dumps([ENTRY, ENTRY]), "entry 1: video UARN7YHOyVw is there twice"),
    ],
)
def test_another_layout_is_named(source, tmp_path, content, message):
    (source / "train.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        formats.prepare("medvidcl", source, tmp_path / "out")
