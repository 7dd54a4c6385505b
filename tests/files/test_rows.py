import json

import pytest

from sparsefuse.files.references import FEATURES, MEDIA
from sparsefuse.files.rows import Table, check_ids, read_table, unread_times, write_table


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
    ("name", "text", "encoding"),
    [
        ("m.csv", "id;rgb;label\r\n1;f/a.npy;x\r\n2;f/b.npy;y, z\r\n", "utf-8-sig"),
        ("m.tsv", "id\trgb\tlabel\n1\tf/a.npy\tx\n2\tf/b.npy\ty, z\n", "utf-8"),
        ("m.csv", "id|rgb|label\n1|f/a.npy|x\n2|f/b.npy|y, z\n", "utf-8"),
        ("m.csv", "id\trgb\tlabel\r\n1\tf/a.npy\tx\r\n2\tf/b.npy\ty, z\r\n", "utf-16"),
        ("m.csv", "sep=;\nid;rgb;label\n1;f/a.npy;x\n2;f/b.npy;y, z\n", "utf-8"),
        ("m.csv", 'ID,rgb, Label \n1,f\\a.npy,x\n2,f\\b.npy,"y, z"\n', "utf-8"),
        ("m.csv", 'id,rgb,label,,\n1,f/a.npy,x,,\n2,f/b.npy,"y, z",,\n,,,,\n', "utf-8"),
        ("m.csv", 'id,rgb,label\n1,f/a.npy,x,\n2,f/b.npy,"y, z",\n', "utf-8"),
        ("m.csv", ',id,rgb,label\n0,1,f/a.npy,x\n7,2,f/b.npy,"y, z"\n', "utf-8"),
        (
            "m.jsonl",
            '{"ID": 1, "rgb": "f/a.npy", "label": "x"}\n{"ID": 2, "rgb": "f/b.npy", "label": "y, z"}',
            "utf-16",
        ),
        ("m.json", '{"id": 1, "rgb": "f/a.npy", "label": "x"}\n{"id": 2, "rgb": "f/b.npy", "label": "y, z"}', "utf-8"),
    ],
)
def test_the_forms_that_other_tools_write_are_the_same_table(tmp_path, name, text, encoding):
    (tmp_path / name).write_bytes(text.encode(encoding))
    table = read_table(tmp_path / name)
    assert table.columns == ["id", "rgb", "label"]
    assert [list(row.values()) for row in table.rows] == [["1", "f/a.npy", "x"], ["2", "f/b.npy", "y, z"]]


def test_lines_are_counted_from_the_one_that_names_the_separator(tmp_path):
    path = write(tmp_path / "m.csv", "sep=;\nid;a\n1;2\n")
    assert read_table(path).lines == [3]


def test_a_backslash_in_the_name_of_a_file_that_is_there_stays(tmp_path):
    (tmp_path / "a\\b.npy").touch()
    path = write(tmp_path / "m.csv", "id,rgb,note\na\\1.npy,a\\b.npy,c\\d\n2,a\\c.npy,\n")
    assert read_table(path).rows == [
        {"id": "a\\1.npy", "rgb": "a\\b.npy", "note": "c\\d"},
        {"id": "2", "rgb": "a/c.npy", "note": ""},
    ]


def test_names_that_differ_in_case_alone_stay_as_they_are(tmp_path):
    path = write(tmp_path / "m.csv", "id,Label,label,Split\n1,a,b,test\n")
    assert read_table(path).columns == ["id", "Label", "label", "split"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", " \n", "the table is empty"),
        ("m.csv", "id,a,a\n1,2,3\n", "line 1: column 'a' appears twice in the header"),
        ("m.csv", ",id\nx,a\n", "line 1: column 1 has no name"),
        ("m.csv", "id,\na,0\n", "line 1: column 2 has no name"),
        ("m.csv", "id;a\n1;2\n3\n", "line 3: 1 cells, the header has 2; put cells that hold a ';' in"),
        ("m.json", '[{"id": 1}]', "is a JSON list; write one object per line"),
        ("m.csv", "i\0d\0", "holds zero bytes, so it is no text in UTF-8"),
        ("m.csv", "id,a\n1,2\n\n3\n", "line 4: 1 cells, the header has 2"),
        ("m.csv", 'id,a\n1,2\n3,"x\n4,5\n', "line 3: not CSV (unexpected end of data); is a double quote open?"),
        ("m.jsonl", '{"id": 1}\n{"id": \n', "line 2: not JSON"),
        ("m.jsonl", '{"id": 1, "label": "x", "label": "y"}\n', "line 1: not JSON ('label' appears twice in an object)"),
        ("m.jsonl", '{"id": 1}\n\n[1, 2]\n', "line 3: expected one object {...} a line, got another value"),
    ],
)
def test_what_is_no_table_is_named_with_its_line(tmp_path, name, text, message):
    with pytest.raises(ValueError) as error:
        read_table(write(tmp_path / name, text))
    assert str(error.value).startswith(str(tmp_path / name))
    assert message in str(error.value)


def test_ids_are_the_same_when_only_blanks_differ(tmp_path):
    path = write(tmp_path / "m.jsonl", '{"id": "a"}\n{"id": "a\\n"}\n')
    with pytest.raises(ValueError, match="id 'a' is on lines 1 and 2; ids are unique"):
        check_ids(path, read_table(path))


@pytest.mark.parametrize(
    ("cells", "features", "media"),
    [
        (["a.npy", "b.npz#x.mp4", "n/a"], True, False),
        (["a.mp4", "b.WAV", ""], False, True),
        (["a.npy", "later"], False, False),  # half is not most
        (["a.npy", "n/a", "NaN"], True, False),
        (["", ""], False, False),
    ],
)
def test_most_cells_decide_what_a_column_holds(cells, features, media):
    table = Table(["x", "group"], [{"x": cell, "group": cell} for cell in cells], [])
    assert (table.holds("x", FEATURES), table.holds("x", MEDIA)) == (features, media)
    assert not table.holds("group", FEATURES | MEDIA)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ('{"id": ' + "[" * 100_000 + "]" * 100_000 + "}", "recursion"),
        ('{"id": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}", "recursion"),
        ('{"id": "\\ud800"}', "surrogates not allowed"),
        ('{"id": "' + "x" * 20_000, "Unterminated string"),
    ],
    ids=["digits", "lists", "objects", "half a character", "cut off"],
)
def test_json_that_no_table_has_is_a_short_error_with_its_line(tmp_path, line, message):
    path = tmp_path / "m.jsonl"
    path.write_text('{"id": "a"}\n' + line)
    with pytest.raises(ValueError, match=rf"m\.jsonl, line 2: not JSON \(.*{message}") as error:
        read_table(path)
    assert type(error.value) is ValueError
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.jsonl", "".join(f'{{"id": "{i}", "c{i}": 1}}\n' for i in range(200))),
        ("m.csv", "id,a" + "," * 400 + "\n" + f"x{',' * 401}\n" * 100),
    ],
)
def test_a_table_of_hardly_anything_but_empty_cells_is_refused(tmp_path, name, text, monkeypatch):
    """An absent cell takes memory, but not a byte of the file."""
    path = tmp_path / name
    path.write_text(text)
    read_table(path)
    monkeypatch.setenv("SPARSEFUSE_BEYOND_GB", "0.001")
    with pytest.raises(ValueError, match="empty cells takes"):
        read_table(path)


def test_long_cells_do_not_make_long_errors(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(f"id,label\n{'x' * 9000},1\n{'x' * 9000},2\n")
    with pytest.raises(ValueError, match="is on lines 2 and 3") as error:
        check_ids(path, read_table(path))
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_more_rows_than_there_is_memory_for_are_an_error_that_names_the_option(tmp_path, monkeypatch, name):
    """20,000 rows of two columns: 13 MB; the bound is looked at every 10,000."""
    rows = [f'{{"id": "{i}", "a": 1}}' if name == "m.jsonl" else f"{i},1" for i in range(20_000)]
    path = write(tmp_path / name, "\n".join([*([] if name == "m.jsonl" else ["id,a"]), *rows]))
    monkeypatch.setattr("sparsefuse.files.rows._ROOM", 0)
    monkeypatch.setenv("SPARSEFUSE_BEYOND_GB", "0.02")
    assert len(read_table(path).rows) == 20_000
    monkeypatch.setenv("SPARSEFUSE_BEYOND_GB", "0.01")
    with pytest.raises(
        ValueError, match=r"a table of over 20,000 rows takes 0\.013 GB.*set SPARSEFUSE_BEYOND_GB above"
    ):
        read_table(path)


@pytest.mark.parametrize(
    ("head", "row", "expected"),
    [
        ("id,start_time,end_time", "a,1.5,2", ["start_time", "end_time"]),
        ("id,Onset (s),Duration", "a,0:01.5,2", ["Onset (s)", "Duration"]),
        ("id,start,duration", "a,1,2", ["duration"]),
        ("id,start,stop_sec", "a,1,2", ["stop_sec"]),
        ("id,start,end,duration", "a,1,2,1", []),
        ("id,duration", "a,4", []),
        ("id,start_time", "a,noon", []),
        ("id,weekend,started", "a,1,2", []),
        ("id,start_time", "a,", []),
    ],
)
def test_columns_that_look_like_parts_of_films_and_are_not_read_are_found(tmp_path, head, row, expected):
    assert unread_times(read_table(write(tmp_path / "m.csv", f"{head}\n{row}\n"))) == expected
