"""Words against a table of five words, and the words that files with times hold."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from sparsefuse.features import build, extractor, fingerprint
from sparsefuse.files.skipped import Unusable

text = extractor("text")
FIVE = "the 1 0\nRain 2 0.5\nrain 3 0.25\nis -1 0\ndon't 4 1e-1\n"


@pytest.fixture
def table(tmp_path: Path) -> str:
    (tmp_path / "five.txt").write_text(FIVE)
    return str(tmp_path / "five.txt")


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def test_a_word_is_a_token_as_written_or_in_lower_case(tmp_path: Path, table: str) -> None:
    file = write(tmp_path / "a.txt", "THE Rain, rain -- RAIN!\nIs? Don\u2019t")
    expected = [[1, 0], [2, 0.5], [3, 0.25], [3, 0.25], [-1, 0], [4, 0.1]]
    found = text(file, table=table)
    np.testing.assert_allclose(found, expected)
    assert found.dtype == np.float32


def test_words_without_a_table_are_hashed_by_their_letters(tmp_path: Path) -> None:
    happy, unhappy, table, again = text(write(tmp_path / "a.txt", "happy, unhappy: Table HAPPY"))
    np.testing.assert_array_equal(happy, again)
    assert happy.shape == (256,)
    assert happy @ unhappy > 3 * abs(happy @ table), "words that share letters are alike"
    assert text(tmp_path / "a.txt", hashed=10).shape == (4, 10)
    pieces = ["<ox>", "<ox", "ox>"]  # by hand: the bits of each piece's SHAKE-128 as signs
    bits = [format(int.from_bytes(hashlib.shake_128(piece.encode()).digest(1)), "08b") for piece in pieces]
    expected = [sum(1 if bit == "1" else -1 for bit in column) / 3**0.5 for column in zip(*bits, strict=True)]
    np.testing.assert_allclose(text(write(tmp_path / "b.txt", "Ox"), hashed=8), [expected], rtol=1e-6)
    with pytest.raises(Unusable, match="has no words, only signs"):
        text(write(tmp_path / "c.txt", "..."))


def test_an_unknown_word_is_zero_or_dropped_and_too_many_are_unusable(tmp_path: Path, table: str) -> None:
    file = write(tmp_path / "a.txt", "the snow is")
    np.testing.assert_array_equal(text(file, table=table), [[1, 0], [0, 0], [-1, 0]])
    np.testing.assert_array_equal(text(file, table=table, unknown="drop"), [[1, 0], [-1, 0]])
    with pytest.raises(Unusable, match=r"a\.txt: 1 of 3 words are not in .*five\.txt: snow"):
        text(file, table=table, max_unknown=0.3)
    for nothing in ("neige tombe", "..."):
        with pytest.raises(Unusable, match="words are not in"):
            text(write(tmp_path / "b.txt", nothing), table=table, max_unknown=1)


def test_an_array_with_a_vocabulary_gives_the_same(tmp_path: Path, table: str) -> None:
    file = write(tmp_path / "a.txt", "the rain is")
    words = [line.split()[0] for line in FIVE.splitlines()]
    np.save(tmp_path / "five.npy", np.array([line.split()[1:] for line in FIVE.splitlines()], dtype=np.float32))
    write(tmp_path / "words.txt", "\n".join(words))
    options = {"table": str(tmp_path / "five.npy"), "vocabulary": str(tmp_path / "words.txt")}
    np.testing.assert_array_equal(text(file, **options), text(file, table=table))


def test_the_header_of_word2vec_and_double_words_do_not_matter(tmp_path: Path) -> None:
    table = write(tmp_path / "w2v.txt", "3 2\nthe 1 0\nthe 9 9\n. . 5 5\nis 2 0\n")  # GloVe has words with spaces
    file = write(tmp_path / "a.txt", "the is")
    np.testing.assert_array_equal(text(file, table=str(table)), [[1, 0], [2, 0]])


SRT = """1
00:00:01,000 --> 00:00:03,000
<i>the rain</i>

2
00:00:03,000 --> 00:00:05,000 X1:40
{\\an8}is the
rain is
"""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.srt", SRT),
        ("a.vtt", "WEBVTT\n\nNOTE the rain\n\n" + SRT.replace(",", ".").replace("00:00:", "00:")),
        ("a.csv", "word,start,end\nthe,1,2\nrain,2,3\nis,3,3.5\nthe,3.5,4\nrain,4,4.5\nis,4.5,5\n"),
        (
            "a.json",
            json.dumps(
                {
                    "segments": [
                        {"text": "the rain", "start": 1, "end": 3},
                        {
                            "words": [
                                {"word": " is", "start": 3, "end": 3.5},
                                {"word": "the"},  # an aligner found no time: that of the word before
                                {"word": "rain", "start": 4, "end": 4.5},
                                {"word": "is", "start": 4.5, "end": 5},
                            ]
                        },
                    ]
                }
            ),
        ),
    ],
)
def test_a_part_holds_the_words_whose_middle_is_in_it(tmp_path: Path, table: str, name: str, content: str) -> None:
    file = write(tmp_path / name, content)
    the, rain, is_ = [1, 0], [3, 0.25], [-1, 0]
    np.testing.assert_array_equal(text(file, table=table), np.array([the, rain, is_, the, rain, is_], np.float32))
    np.testing.assert_array_equal(text(file, table=table, start=2.5, end=4), np.array([rain, is_, the], np.float32))
    with pytest.raises(Unusable, match="has no words from 6 s to the end"):
        text(file, table=table, start=6)


def test_a_text_without_times_has_no_parts(tmp_path: Path, table: str) -> None:
    with pytest.raises(Unusable, match=r"a \.txt has no times; if it is the text of this row alone, set `whole: true`"):
        text(write(tmp_path / "a.txt", "the rain"), table=table, end=2)
    bare = write(tmp_path / "a.csv", "word\nthe\nrain\n")
    assert len(text(bare, table=table)) == 2
    with pytest.raises(Unusable, match="its words have no start and end"):
        text(bare, table=table, end=2)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b" \n", "a.txt: has no words"),
        ("a.txt", b"\xff\xfe", "a.txt: is not UTF-8 text (byte 0)"),
        ("a.pdf", b"x", "a.pdf: unknown text file type '.pdf'"),
        ("a.csv", b"text,start\nx,1\n", "a.csv: unknown column 'word'"),
        ("a.csv", b"word,start,end\nx,soon,1\n", "a.csv: start of a word is no number, expected seconds"),
        ("a.json", b"{", "a.json: is not JSON"),
        ("a.json", b'{"words": ["x"]}', "a.json: expected objects with word, start and end, got another value"),
        ("a.json", b'{"label": 1}', "a.json: an object has no word, start and end"),
        ("a.json", b"[" * 100_000, "a.json: is not JSON (maximum recursion depth exceeded"),
        ("a.json", b"[" * 900 + b"]" * 900, "a.json: "),
        ("a.json", b'[{"word": "x", "start": %s}]' % (b"9" * 400), "a.json: start of a word is no number"),
        ("a.json", b'[{"word": "x", "start": %s}]' % (b"9" * 5000), "a.json: is not JSON (Exceeds the limit"),
        ("a.json", b'[{"word": "x", "end": NaN}]', "a.json: end of a word is nan, expected seconds"),
        ("a.json", b'[{"word": "x", "end": 1e999}]', "a.json: end of a word is inf, expected seconds"),
        ("a.json", b'[{"word": {"word": "x"}}]', "a.json: a word is no text"),
        ("a.csv", b"word\n" + b"x" * 200_000, "a.csv: is not CSV (field larger than field limit"),
    ],
)
def test_a_broken_text_says_what(tmp_path: Path, table: str, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Unusable) as caught:
        text(tmp_path / name, table=table)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hashed": 0}, "hashed is 0, expected a number of features from 1 to 4096"),
        ({"table": "a", "model": "b"}, "got both"),
        ({"table": "a", "max_unknown": 2}, "max_unknown is 2.0, expected a share"),
        ({"table": "a", "unknown": "mean"}, "unknown value of unknown 'mean'. available: drop, zero"),
    ],
)
def test_a_wrong_option_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        build("text", options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no file"), ("", "has no lines of a word and its numbers"), ("a\nb\n", "has no lines of a word")],
)
def test_a_wrong_table_stops_before_any_work(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        write(tmp_path / "t.txt", content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        fingerprint("text", {"table": str(tmp_path / "t.txt")})


def test_a_table_whose_line_is_no_vector_is_named(tmp_path: Path) -> None:
    table = write(tmp_path / "t.txt", "the 1 2\nrain 1 x\n")
    with pytest.raises(ValueError, match=r"t\.txt: the line of 'rain' has no 2 numbers"):
        text(write(tmp_path / "a.txt", "rain"), table=str(table))


def test_another_table_makes_the_features_again(tmp_path: Path, table: str) -> None:
    before = fingerprint("text", {"table": table})
    assert fingerprint("text", {"table": table}) == before
    file = write(tmp_path / "a.txt", "the snow")
    np.testing.assert_array_equal(text(file, table=table), [[1, 0], [0, 0]])
    write(Path(table), FIVE + "snow 1 1\n")
    assert fingerprint("text", {"table": table}) != before
    np.testing.assert_array_equal(text(file, table=table), [[1, 0], [1, 1]])
