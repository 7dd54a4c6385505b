import json

import pytest

from sparsefuse.files.references import FEATURES, MEDIA
from sparsefuse.files.rows import Table, check_ids, read_table, write_table


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_written_is_read_back(tmp_path):
    rows = [{"id": "1", "rgb": "a,b.npy", "label": 'say "x"'}, {"id": "2", "rgb": "", "label": "two\nlines"}]
    assert read_table(write_table(tmp_path / "new" / "m.csv", rows)).rows == rows


def test_a_row_is_named_by_the_line_it_begins_on(tmp_path):
    path = write(tmp_path / "m.csv", '\nid,note\n\n1,"two\nlines"\n2,x\n')
    assert read_table(path) == Table(
        ["id", "note"], [{"id": "1", "note": "two\nlines"}, {"id": "2", "note": "x"}], [4, 6]
    )


@pytest.mark.parametrize("name", ["m.jsonl", "M.NDJSON"])
def test_json_values_become_cells_as_in_csv(tmp_path, name):
    lines = [{"id": 1, "a": ["x ", 2, None], "b": None}, {"id": " 2", "b": 0.5, "c": True, "d": {"é": [1]}}]
    path = write(tmp_path / name, "\n\n".join(json.dumps(line) for line in lines))
    assert read_table(path) == Table(
        ["id", "a", "b", "c", "d"],
        [
            {"id": "1", "a": "x|2|", "b": "", "c": "", "d": ""},
            {"id": "2", "a": "", "b": "0.5", "c": "true", "d": '{"é": [1]}'},
        ],
        [1, 3],
    )


def test_a_line_separator_within_json_text_ends_no_line(tmp_path):
    path = write(tmp_path / "m.jsonl", '{"id": 1, "note": "a\u2028b"}\n{"id": 2}\n')
    assert read_table(path).rows[0]["note"] == "a\u2028b"


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path, name):
    path = write(tmp_path / name, "\ufeff" + ("id\n1\n" if name == "m.csv" else '{"id": 1}'))
    assert read_table(path).columns == ["id"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", " \n", "the table is empty"),
        ("m.csv", "id,a,a\n1,2,3\n", "line 1: column 'a' stands twice in the header"),
        ("m.csv", ",id\n0,a\n", "line 1: column 1 has no name"),
        ("m.csv", "id,a\n1,2\n\n3\n", "line 4: 1 cells, the header has 2"),
        ("m.csv", 'id,a\n1,2\n3,"x\n4,5\n', "line 3: not CSV (unexpected end of data); is a double quote open?"),
        ("m.jsonl", '{"id": 1}\n{"id": \n', "line 2: not JSON"),
        ("m.jsonl", '{"id": 1}\n\n[1, 2]\n', "line 3: got [1, 2], expected one object {...} a line"),
    ],
)
def test_what_is_no_table_is_named_with_its_line(tmp_path, name, text, message):
    with pytest.raises(ValueError) as error:
        read_table(write(tmp_path / name, text))
    assert str(error.value).startswith(str(tmp_path / name))
    assert message in str(error.value)


def test_ids_are_the_same_when_only_blanks_differ(tmp_path):
    path = write(tmp_path / "m.jsonl", '{"id": "a"}\n{"id": "a\\n"}\n')
    with pytest.raises(ValueError, match="id 'a' stands on lines 1 and 2; ids are unique"):
        check_ids(path, read_table(path))


@pytest.mark.parametrize(
    ("cells", "features", "media"),
    [
        (["a.npy", "b.npz#x.mp4", "n/a"], True, False),
        (["a.mp4", "b.WAV", ""], False, True),
        (["a.npy", "n/a"], False, False),  # half is not most
        (["", ""], False, False),
    ],
)
def test_most_cells_decide_what_a_column_holds(cells, features, media):
    table = Table(["x", "group"], [{"x": cell, "group": cell} for cell in cells], [])
    assert (table.holds("x", FEATURES), table.holds("x", MEDIA)) == (features, media)
    assert not table.holds("group", FEATURES | MEDIA)
