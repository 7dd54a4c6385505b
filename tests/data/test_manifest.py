import json
import math

import pytest

from sparsefuse.data.manifest import Row, read_manifest
from sparsefuse.files.rows import write_table


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_gives_rows_with_sorted_modalities(tmp_path):
    path = write(
        tmp_path / "m.csv",
        "id,rgb,audio,label,split,group,note\n007,rgb/7.npy,all.npz#7,cat,train,g1,hello\n8,rgb/8.npy,,dog,val,g2,\n",
    )
    manifest = read_manifest(path)
    assert manifest.modalities == ("audio", "rgb")
    assert manifest.root == tmp_path
    assert manifest.rows == [
        Row("007", {"audio": "all.npz#7", "rgb": "rgb/7.npy"}, "cat", "train", "g1"),
        Row("8", {"rgb": "rgb/8.npy"}, "dog", "valid", "g2"),
    ]


def test_jsonl_reads_like_csv(tmp_path):
    lines = [{"id": 1, "rgb": "a.npy", "label": ["x", "y"]}, {"id": 2, "rgb": None, "label": 3, "audio": "b.wav"}]
    path = write(tmp_path / "m.jsonl", "\n".join(map(json.dumps, lines)))
    manifest = read_manifest(path)
    assert manifest.modalities == ("audio", "rgb")
    assert manifest.rows == [Row("1", {"rgb": "a.npy"}, "x|y"), Row("2", {"audio": "b.wav"}, "3")]


def test_another_label_column_leaves_the_first_alone(tmp_path):
    path = write(tmp_path / "m.csv", "id,rgb,label,digit\n1,a.npy,x,seven\n")
    assert read_manifest(path, label="digit").rows == [Row("1", {"rgb": "a.npy"}, "seven")]
    assert read_manifest(path, label=None).rows == [Row("1", {"rgb": "a.npy"}, "")]


def test_groups_are_in_the_column_that_is_named_in_any_case(tmp_path):
    path = write(tmp_path / "m.csv", "id,rgb,kind,Person,group\n1,a.npy,x,ann,g\n2,b.npy,y,nan,g\n3,c.npy,x,bob,g\n")
    assert [row.group for row in read_manifest(path, label="kind").rows] == ["g", "g", "g"]
    manifest = read_manifest(path, label="kind", group="person")
    assert ([row.group for row in manifest.rows], manifest.group) == (["ann", "", "bob"], "Person")
    assert read_manifest(path, group="person").labels == ("kind",), "what keeps clips apart is no label"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"group": "persn"}, r"m\.csv: data\.group: unknown column 'persn'; did you mean 'person'"),
        ({"group": "rgb"}, r"m\.csv: data\.group is rgb, a column of files; rename it 'group', which is never one"),
        ({"group": "kind", "label": "kind"}, "column 'kind' is both data.label and data.group; they must be two"),
        ({"group": "kind", "label": "person", "modalities": ["rgb", "kind"]}, "data.group is kind, a column of files"),
    ],
)
def test_a_column_of_groups_that_cannot_be_one_is_refused(tmp_path, given, said):
    path = write(tmp_path / "m.csv", "id,rgb,kind,person\n1,a.npy,x,ann\n2,b.npy,y,bob\n")
    with pytest.raises(ValueError, match=said):
        read_manifest(path, **given)


@pytest.mark.parametrize("label", ["Label", "label", "LABEL"])
def test_a_label_column_is_found_in_any_case(tmp_path, label):
    path = write(tmp_path / "m.csv", "ID,rgb,Label,Split\n1,a.npy,x,Train\n")
    assert read_manifest(path, label=label).rows == [Row("1", {"rgb": "a.npy"}, "x", "train")]


def test_the_nearest_column_is_named_in_any_case(tmp_path):
    path = write(tmp_path / "m.csv", "id,RGB,label\n1,a.npy,x\n")
    with pytest.raises(ValueError, match="unknown modality 'rgb'; did you mean 'RGB'"):
        read_manifest(path, modalities=["rgb"])


def test_one_odd_cell_does_not_remove_a_modality(tmp_path):
    path = write(tmp_path / "m.csv", "id,rgb,label\n1,a.npy,x\n2,n/a,x\n3,c.npy,y\n")
    assert read_manifest(path).rows[1].files == {}
    assert read_manifest(path).modalities == ("rgb",)


@pytest.mark.parametrize("word", ["nan", "NaN", "N/A", "none", "None", "null", "-", "?", ""])
def test_words_for_nothing_are_empty_cells(tmp_path, word):
    path = write(tmp_path / "m.csv", f"id,rgb,label,split,group\nNaN,a.npy,x,,\n2,{word},{word},{word},{word}\n")
    assert read_manifest(path).rows == [Row("NaN", {"rgb": "a.npy"}, "x"), Row("2", {}, "")]


def test_a_label_that_json_calls_nan_is_missing_and_said_so(tmp_path, caplog):
    rows = [{"id": 1, "rgb": "a.npy", "label": math.nan}, {"id": 2, "rgb": "b.npy", "label": ["a", None, math.nan]}]
    path = write(tmp_path / "m.jsonl", "\n".join(map(json.dumps, rows)))
    assert [row.label for row in read_manifest(path).rows] == ["", "a|"]
    assert "labels that say 'NaN' (2) are read as empty; if that is a class, rename it" in caplog.text


@pytest.mark.parametrize(
    ("separator", "label"),
    [
        (",", "a, b"),
        (",", "['a', 'b']"),
        (",", '["a", "b"]'),
        (";", "a;b"),
        (" + ", "a + b"),
        ("|", "a|b"),
        (",", "a|b"),
    ],
)
def test_several_labels_are_separated_as_the_configuration_says(tmp_path, separator, label):
    path = write_table(tmp_path / "m.csv", [{"id": "1", "rgb": "a.npy", "label": label}])
    assert read_manifest(path, separator=separator).rows[0].label == "a|b"


def test_a_separator_and_several_columns_do_not_go_together(tmp_path):
    path = write(tmp_path / "m.csv", "id,rgb,verb,noun\n1,a.npy,take,cup\n")
    with pytest.raises(ValueError, match=r"data\.separator is for several classes of one column, data.label names 2"):
        read_manifest(path, label="verb+noun", separator=",")


def test_labels_of_a_column_of_their_own_are_missing_alike(tmp_path):
    path = write(tmp_path / "m.csv", "id,rgb,verb,noun\n1,a.npy,take,nan\n2,b.npy,nan,nan\n")
    assert [row.label for row in read_manifest(path, label="verb+noun").rows] == ["take+", ""]


@pytest.mark.parametrize(
    ("word", "split"),
    [("validation", "valid"), ("Val", "valid"), ("dev", "valid"), ("Training", "train"), ("testing", "test")],
)
def test_splits_are_read_by_their_usual_names(tmp_path, word, split):
    path = write(tmp_path / "m.csv", f"id,rgb,label,split\n1,a.npy,x,{word}\n")
    assert read_manifest(path).rows[0].split == split


def test_named_modalities_are_the_only_ones_whatever_their_cells(tmp_path):
    path = write(tmp_path / "m.csv", "id,rgb,words,label\n1,a.npy,hello there,x\n")
    manifest = read_manifest(path, modalities=["words"])
    assert manifest.modalities == ("words",)
    assert manifest.rows[0].files == {"words": "hello there"}


def test_a_byte_order_mark_and_quoted_commas_are_read(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes('﻿id,rgb,label\n1,a.npy,"x, y"\n'.encode())
    assert read_manifest(path).rows == [Row("1", {"rgb": "a.npy"}, "x, y")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty"),
        ("id,rgb,label\n", "no rows"),
        ("id,rgb,labels\n1,a.npy,x\n", "did you mean 'labels'"),
        ("id,rgb,label\n1,a.npy,x\n2,b.npy,y\n1,c.npy,z\n", "'1' is on lines 2 and 4"),
        ("id,rgb,label\n,a.npy,x\n", "line 2: the id is empty"),
        ("id,rgb,label\n1,a.npy,x,9\n", "line 2: 4 cells, the header has 3"),
        ("id,rgb,rgb,label\n1,a.npy,b.npy,x\n", "'rgb' appears twice"),
        ("id,rgb,label,split\n1,a.npy,x,trian\n", "line 2: unknown split 'trian'; did you mean 'train'"),
        ("id,words,label\n1,hello,x\n", "no column holds files"),
    ],
)
def test_a_table_that_is_no_manifest_is_named(tmp_path, text, message):
    path = write(tmp_path / "m.csv", text)
    with pytest.raises(ValueError) as error:
        read_manifest(path)
    assert message in str(error.value)
    assert "m.csv" in str(error.value)


def test_rows_without_ids_are_numbered(tmp_path):
    manifest = read_manifest(write(tmp_path / "m.csv", "rgb,label\na.npy,x\nb.npy,y\n"))
    assert manifest.rows == [Row("00000", {"rgb": "a.npy"}, "x"), Row("00001", {"rgb": "b.npy"}, "y")]
    assert manifest.modalities == ("rgb",)


def test_an_unknown_modality_gets_the_nearest_column(tmp_path):
    path = write(tmp_path / "m.csv", "id,audio,label\n1,a.npy,x\n")
    with pytest.raises(ValueError, match="unknown modality 'audoi'; did you mean 'audio'"):
        read_manifest(path, modalities=["audoi"])


def test_a_missing_manifest_is_named_with_what_there_is(tmp_path):
    write(tmp_path / "clips.csv", "id\n")
    with pytest.raises(FileNotFoundError, match=r"m\.csv not found; .* holds clips\.csv"):
        read_manifest(tmp_path / "m.csv")


def test_a_folder_or_a_film_in_place_of_a_manifest_is_named_as_one(tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x20ftypisom\xff")
    for name, kind in (("films", "folder"), ("a.mp4", "media file")):
        with pytest.raises(FileNotFoundError, match=f"{name} is a {kind}, .* `sparsefuse prepare folders` makes"):
            read_manifest(tmp_path / name)


def test_bytes_that_are_not_text_are_refused(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"id,label\n\xff\xfe\n")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_manifest(path)


def test_thousands_of_columns_of_files_are_no_modalities(tmp_path):
    path = tmp_path / "m.csv"
    names = [f"c{i}" for i in range(3000)]
    path.write_text(f"id,label,{','.join(names)}\na,b{',x.npy' * 3000}\n")
    with pytest.raises(ValueError, match="3,000 columns hold files; name the modalities"):
        read_manifest(path)
    assert read_manifest(path, modalities=["c7", "c1"]).modalities == ("c1", "c7")


def test_a_table_without_files_names_some_of_its_columns(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(f"id,label,{','.join(f'c{i}' for i in range(3000))}\na,b{',x' * 3000}\n")
    with pytest.raises(ValueError, match="no column holds files") as error:
        read_manifest(path)
    assert len(str(error.value)) < 1000
