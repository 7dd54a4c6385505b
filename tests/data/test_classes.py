"""Lists of classes: small ones by hand, and those of EPIC-Kitchens-100."""

import csv
import re
from pathlib import Path

import pytest

from sparsefuse.data.classes import read_class_lists
from sparsefuse.data.labels import Labels

EPIC = Path(__file__).parents[3] / "shared" / "data" / "epic100"


def read(folder: Path, text: str) -> dict[str, str]:
    (folder / "verbs.csv").write_text(text)
    return read_class_lists({"verb": "verbs.csv"}, folder, ("verb", "noun"))["verb"]


def test_keys_have_ids_in_the_order_of_the_list(tmp_path):
    found = read(tmp_path, "id,key,instances\n4,put,\"['put', 'lay']\"\n0,take,[]\n")
    assert list(found.items()) == [("put", "4"), ("take", "0")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,name\n0,take\n1,put\n", "no 'key' column"),
        ("id,key\n0,take\n0,put\n", "id '0' is on lines 2 and 3"),
        ("id,key\n0,take\n1,take\n", "line 3: the key 'take' has the id 0 already"),
        ("id,key\n0,1\n1,put\n", "line 2: '1' is a key here and the id of 'put'"),
        ("id,key\n0,take\n1,put+on\n", "line 3: the key is 'put+on'"),
        ("id,key\n0,take\n1,\n", "line 3: the key is ''"),
        ("id,key\n0,take\n", "one class only"),
    ],
)
def test_a_list_that_is_not_clear_is_an_error(tmp_path, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tmp_path, text)


def test_a_list_of_another_column_or_of_no_file_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"data\.classes: unknown label column 'nuon'; did you mean 'noun'"):
        read_class_lists({"nuon": "nouns.csv"}, tmp_path, ("verb", "noun"))
    with pytest.raises(FileNotFoundError, match=r"nouns\.csv not found; data\.classes names it"):
        read_class_lists({"noun": "nouns.csv"}, tmp_path, ("verb", "noun"))


@pytest.mark.skipif(not EPIC.is_dir(), reason=f"no EPIC-Kitchens-100 annotations in {EPIC}")
def test_epic_kitchens_has_97_verbs_and_300_nouns_and_all_its_clips_are_of_them():
    columns = ("verb_class", "noun_class")
    paths = {f"{name}_class": f"EPIC_100_{name}_classes.csv" for name in ("verb", "noun")}
    with (EPIC / "EPIC_100_validation.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    texts = [f"{row['verb_class']}+{row['noun_class']}" for row in rows]
    labels = Labels.from_rows(texts[:10], columns=columns, lists=read_class_lists(paths, EPIC, columns))
    assert labels.heads == {"verb_class": 97, "noun_class": 300}
    assert labels.num_outputs == 397
    assert labels.classes[0] == "verb_class:take"
    assert labels.classes[97 + 18] == "noun_class:board:chopping"
    for text in texts:  # the ids are the places in the list
        assert labels.encode(text).tolist() == [int(part) for part in text.split("+")]
    assert labels.text(labels.encode("0+2")) == "take+plate"
