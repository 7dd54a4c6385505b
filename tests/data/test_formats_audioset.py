"""AudioSet's segment lists."""

import pytest
from shared_data import touch

from sparsefuse.data import formats
from sparsefuse.data.manifest import read_manifest
from sparsefuse.files.rows import read_table

CLASSES = 'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/t/dd00088,"Child speech, kid speaking"\n2,/m/07j,Rain\n'
HEAD = "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=2, num_segs=2\n"
HEAD += "# YTID, start_seconds, end_seconds, positive_labels\n"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "class_labels_indices.csv").write_text(CLASSES)
    (folder / "balanced_train_segments.csv").write_text(
        HEAD + '--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"\nabc, 0.000, 10.000, "/m/07j"\n'
    )
    (folder / "unbalanced_train_segments.csv").write_text(HEAD + 'more, 2.500, 12.500, "/m/07j"\n')
    (folder / "eval_segments.csv").write_text(HEAD + 'eva, 20.000, 29.000, "/m/09x0r"\n')
    touch(folder, "wav/--PJHxphWEs_30000_40000.wav", "wav/Yabc.wav", "video/eva.mp4", "more_000002.mp4")
    return folder


def test_labels_are_joined_by_their_names(source, tmp_path):
    path = formats.prepare("audioset", source, tmp_path / "out")
    assert read_table(path).rows == [
        {
            "id": id,
            "label": label,
            "split": split,
            "group": group,
            "start": start,
            "end": end,
            "video": video and f"../in/{video}",
            "audio": audio and f"../in/{audio}",
        }
        for id, label, split, group, start, end, video, audio in [
            (
                *("--PJHxphWEs_30000_40000", "Speech|Child speech, kid speaking", "train", "--PJHxphWEs"),
                *("", "", "", "wav/--PJHxphWEs_30000_40000.wav"),
            ),
            ("abc_0_10000", "Rain", "train", "abc", "", "", "", "wav/Yabc.wav"),
            ("eva_20000_29000", "Speech", "test", "eva", "20", "29", "video/eva.mp4", ""),
        ]
    ]
    assert read_manifest(path).modalities == ("audio", "video")


def test_the_unbalanced_list_can_be_chosen(source, tmp_path):
    ids = [r.id for r in read_manifest(formats.prepare("audioset", source, tmp_path / "a", {"train": "both"})).rows]
    assert ids == ["--PJHxphWEs_30000_40000", "abc_0_10000", "more_2500_12500", "eva_20000_29000"]
    ids = [
        r.id for r in read_manifest(formats.prepare("audioset", source, tmp_path / "b", {"train": "unbalanced"})).rows
    ]
    assert ids == ["more_2500_12500", "eva_20000_29000"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('x, 0, 10, "/m/09x0"', r"line 4: unknown label '/m/09x0'; did you mean '/m/09x0r'"),
        ('x, 10, 5, "/m/07j"', "goes from 10 to 5 s"),
        ('x, zero, 5, "/m/07j"', "times 'zero' and '5', expected seconds"),
        ("x, 0, 10, /m/07j, /m/09x0r", "5 cells, expected 4: id, start, end, labels"),
        ('abc, 0, 10, "/m/07j"', "clip abc_0_10000 is in the lists twice"),
    ],
)
def test_a_wrong_line_is_named(source, tmp_path, line, message):
    (source / "eval_segments.csv").write_text(HEAD + line + "\n")
    with pytest.raises(ValueError, match=message):
        formats.prepare("audioset", source, tmp_path / "out")


def test_a_list_that_is_not_there_is_named(source, tmp_path):
    (source / "eval_segments.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no eval_segments\.csv"):
        formats.prepare("audioset", source, tmp_path / "out")
