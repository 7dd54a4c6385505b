"""EPIC-Kitchens-100: two targets and times."""

from itertools import islice

import pytest
from shared_data import shared, touch

from sparsefuse.data import formats
from sparsefuse.data.classes import read_class_list
from sparsefuse.data.manifest import read_manifest
from sparsefuse.files.rows import read_table

HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame"
)
HEADER += ",narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
TAKE = "P01_11_0,P01,P01_11,00:00:00.560,00:00:00.00,00:01:01.89,1,113,take plate,take,0,plate,2,['plate'],[2]\n"
OPEN = "P02_01_7,P02,P02_01,01:00:00.560,01:00:02.50,01:00:03.00,1,9,open tap,open-on,3,tap,0,"
OPEN += "\"['tap', 'x']\",\"[0, 1]\"\n"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    touch(folder, "P01/videos/P01_11.MP4", "P02/videos/P02_01.MP4")
    (folder / "EPIC_100_train.csv").write_text(HEADER + TAKE)
    (folder / "EPIC_100_validation.csv").write_text(HEADER + OPEN)
    verbs = "id,key,instances,category\n0,take,\"['take', 'get']\",retrieve\n3,open,['open'],access\n"
    (folder / "EPIC_100_verb_classes.csv").write_text(verbs)
    (folder / "EPIC_100_noun_classes.csv").write_text("id,key,instances,category\n0,tap,['tap'],a\n2,plate,['p'],b\n")
    return folder


def test_actions_have_times_and_the_keys_of_their_classes(source, tmp_path):
    path = formats.prepare("epic", source, tmp_path / "out")
    assert read_table(path).rows[1] == {
        "id": "P02_01_7",
        "video": "../in/P02/videos/P02_01.MP4",
        "split": "test",
        "group": "P02_01",
        "start": "3602.50",
        "end": "3603.00",
        "verb": "open",
        "noun": "tap",
    }
    manifest = read_manifest(path, label="verb+noun")
    assert [(row.label, row.split) for row in manifest.rows] == [("take+plate", "train"), ("open+tap", "test")]
    assert read_class_list(tmp_path / "out" / "verb.csv") == {"take": "0", "open": "3"}
    assert read_class_list(tmp_path / "out" / "noun.csv") == {"tap": "0", "plate": "2"}
    again = formats.prepare("epic", source, tmp_path / "out", {"validation": "valid"})
    assert [row.split for row in read_manifest(again, label="verb").rows] == ["train", "valid"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("take,0,", "take,1,"), "line 2: unknown verb_class '1'"),
        (("00:01:01.89", "61.89"), r"line 2: time '61\.89', expected hours:minutes:seconds"),
        (("00:01:01.89", "00:00:00.00"), "the action goes from 00:00:00.00 to 00:00:00.00"),
        (("verb_class", "verbclass"), "unknown column 'verb_class'; did you mean 'verbclass'"),
    ],
)
def test_a_wrong_list_is_named(source, tmp_path, change, message):
    (source / "EPIC_100_train.csv").write_text((HEADER + TAKE).replace(*change))
    with pytest.raises(ValueError, match=message):
        formats.prepare("epic", source, tmp_path / "out")


def test_a_video_that_is_not_there_costs_its_actions(source, tmp_path):
    (source / "P02" / "videos" / "P02_01.MP4").unlink()
    assert len(read_table(formats.prepare("epic", source, tmp_path / "out")).rows) == 1
    assert "no file P02_01.MP4" in (tmp_path / "out" / "skipped.jsonl").read_text()


def test_the_pickle_is_no_source(tmp_path):
    touch(tmp_path, "EPIC_100_train.pkl")
    with pytest.raises(ValueError, match=r"EPIC_100_train\.pkl is a file; expected the unpacked data set"):
        formats.prepare("epic", tmp_path / "EPIC_100_train.pkl", tmp_path / "out")


@pytest.mark.slow
def test_the_real_lists_are_read(tmp_path):
    real, source = shared("epic100"), tmp_path / "in"
    names = ("EPIC_100_validation.csv", "EPIC_100_verb_classes.csv", "EPIC_100_noun_classes.csv")
    source.mkdir()
    for name in names:
        (source / name).symlink_to(real / name)
    with (real / "EPIC_100_uda_source_train.csv").open() as file:  # the real one is not among the data
        (source / "EPIC_100_train.csv").write_text("".join(islice(file, 500)))
    for name in ("EPIC_100_train.csv", names[0]):
        touch(source / "video", *{f"{row['video_id']}.MP4" for row in read_table(source / name).rows})
    manifest = read_manifest(formats.prepare("epic", source, tmp_path / "out"), label="verb+noun")
    assert sum(row.split == "test" for row in manifest.rows) == 9668
    assert [len(read_class_list(tmp_path / "out" / f"{name}.csv")) for name in ("verb", "noun")] == [97, 300]
    assert manifest.rows[0].label == "open+cupboard"  # the class of doors
