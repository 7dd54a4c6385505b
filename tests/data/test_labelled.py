"""Without a column `label`, the only one that may hold labels is taken, and several are named."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sparsefuse
from sparsefuse import Classifier
from sparsefuse.data.check import check
from sparsefuse.data.given import labelled
from sparsefuse.data.labelled import people_column
from sparsefuse.data.manifest import read_manifest
from sparsefuse.files.rows import read_table

ONLY = """id,rgb,activity,person,timestamp,note,words,start,end,split
1,a.npy,clap,ann,10,,it was so good,0,1,train
2,b.npy,sing,ann,20,,i did not like it,1,2,train
3,c.npy,clap,bob,30,,never again for me,2,3,valid
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "m.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_only_column_left_holds_the_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, ONLY)
    with caplog.at_level("INFO"):
        manifest = read_manifest(path)
        read_manifest(path)
    assert [row.label for row in manifest.rows] == ["clap", "sing", "clap"]
    assert manifest.labels == ("activity",)
    said = f"{path}: labels are in column 'activity', the only one left; for another: --data.label NAME"
    assert caplog.messages == [said], "once"


def test_numbers_that_never_come_again_are_labels_words_are_none(tmp_path: Path) -> None:
    path = written(tmp_path, "rgb,grade,film\na.npy,1.5,x\nb.npy,2.5,y\n")
    assert read_manifest(path).labels == ("grade",)


def test_a_stream_is_no_label(tmp_path: Path) -> None:
    path = written(tmp_path, "rgb,kind,word\na.npy,x,no\nb.npy,y,no\nc.npy,x,yes\n")
    assert read_manifest(path, modalities=["rgb", "kind"]).labels == ("word",)


def test_several_are_named_with_the_flag(tmp_path: Path) -> None:
    path = written(tmp_path, "rgb,activity,weather\na.npy,x,wet\nb.npy,y,wet\nc.npy,x,dry\n")
    with pytest.raises(ValueError, match=r"m\.csv: no column 'label'; these may be it: activity, weather\. Say which: "
                       r"--data\.label activity$"):  # fmt: skip
        read_manifest(path)


def test_a_name_that_was_given_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown column 'activty'; did you mean 'activity'"):
        read_manifest(written(tmp_path, ONLY), label="activty")


def test_with_many_columns_an_error_names_eight(tmp_path: Path) -> None:
    names = [f"n{place}" for place in range(300)]
    row = ",".join(map(str, range(300)))
    path = written(tmp_path, f"rgb,{','.join(names)}\na.npy,{row}\nb.npy,{row.replace('1', '2')}\n")
    with pytest.raises(ValueError, match=r"n1, n10, n11, .*n16 and \d+ more\. Say which: --data\.label n1$"):
        read_manifest(path)


def test_check_says_what_it_was_taken_for(tmp_path: Path) -> None:
    text = ONLY.replace(",split\n", ",session\n")
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", np.zeros((2, 3)))
    text = text.replace(",train", ",").replace(",valid", ",")
    from sparsefuse.config import Config

    columns = check(Config.load(written(tmp_path, text)).data, Path()).columns
    assert columns["activity"] == "label"
    assert columns["person"] == "ignored; data.group=person keeps each one's clips within one split"


def test_a_frame_gives_its_only_column(caplog: pytest.LogCaptureFixture) -> None:
    arrays = [np.ones((2, 3))] * 4
    frame = pd.DataFrame({"x": arrays, "mood": ["a", "b", None, "a"], "person": list("aabb")})
    with caplog.at_level(logging.WARNING):  # what a script shows
        columns, labels = labelled(frame, None, None)
    assert list(labels) == ["mood"]
    assert "labels are in column 'mood', the only one left; for another: label=\"NAME\"" in caplog.messages
    assert set(columns) == {"x", "mood", "person"}
    with pytest.raises(
        ValueError, match=r"^no column 'label'; these may be it: mood, place\. Say which: label=\"mood\""
    ):
        labelled(frame.assign(place=list("xxyy")), None, None)


def test_no_other_column_stands_for_one_that_was_named(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [np.ones((2, 3))] * 4, "labels": list("abba")})
    with pytest.raises(
        ValueError, match=r"^unknown column 'label'; did you mean 'labels'\? available: labels, x; name"
    ):
        labelled(frame, None, ["label"])
    with pytest.raises(
        ValueError, match=r"^unknown column 'label'; did you mean 'labels'\? available: labels, x; name"
    ):
        Classifier().fit(frame, label="label")
    whole = frame.rename(columns={"labels": "label"})
    with pytest.raises(ValueError, match=r"^valid: unknown column 'label'; did you mean 'labels'.*or \(X, y\)$"):
        Classifier().fit(whole, valid=frame)
    table = written(tmp_path, ONLY)
    for fit in (Classifier().fit, sparsefuse.fit):
        with pytest.raises(
            ValueError, match=r"m\.csv: no label column: unknown column 'label'.* activity, .*name it in"
        ):
            fit(table, label="label")


@pytest.mark.slow
def test_a_classifier_learns_and_scores_it(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(3, 2)) + 3 * (i % 2) for i in range(20)]
    data = {"x": arrays, "mood": ["ab"[i % 2] for i in range(20)]}
    clf = Classifier("late", dim=8, num_heads=2, epochs=4, lr=0.02, device="cpu").fit(data)
    assert clf.score(data) > 0.9
    with pytest.raises(ValueError, match=r"^unknown column 'mood'.*; or give the labels as y$"):
        clf.score({"x": arrays, "kind": data["mood"]})
    for i, x in enumerate(arrays):
        np.save(tmp_path / f"{i}.npy", x)
    rows = "".join(f"{i}.npy,{'ab'[i % 2]}\n" for i in range(20))
    path = written(tmp_path, f"x,mood\n{rows}")
    clf = Classifier("late", dim=8, num_heads=2, epochs=4, lr=0.02, device="cpu").fit(path)
    assert clf.score(path) > 0.9


@pytest.mark.parametrize(
    ("people", "found"),
    [("1231", "Subject ID"), ("1211", ""), ("12-3", "")],
    ids=["three", "two, whom no split can hold apart", "of one clip nobody knows"],
)
def test_a_column_of_three_people_or_more_is_found(tmp_path: Path, people: str, found: str) -> None:
    rows = "".join(f"a.npy,{person}\n" for person in people)
    assert people_column(read_table(written(tmp_path, f"rgb,Subject ID\n{rows}"))) == found
    assert not people_column(read_table(written(tmp_path, "rgb,person,user\na.npy,1,4\nb.npy,2,5\nc.npy,3,6\n")))
