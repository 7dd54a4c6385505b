"""The files of a run: what was written is read back, and what is damaged or hostile is one sentence that says where."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparsefuse.config import Config, Data, Picture, Split
from sparsefuse.data.fingerprint import Fingerprint
from sparsefuse.data.labels import Labels
from sparsefuse.files.skipped import Skip
from sparsefuse.runs.folder import RunFolder, check_same_settings
from sparsefuse.runs.parts import parts_of
from sparsefuse.runs.records import (
    Calibration,
    Change,
    Cost,
    Environment,
    Epoch,
    Extract,
    Finetune,
    ModelFacts,
    Origin,
    Result,
)

PRINTS = {"train": Fingerprint(6, "ab"), "valid": Fingerprint(2, "cd"), "test": Fingerprint(2, "ef")}
MODEL = ModelFacts(
    name="sft",
    method="sft",
    options={"dim": 40, "keep": {"rgb": 12}, "views": [{"rgb": 1}]},
    features={"rgb": 5, "sound": 4},
    lengths={"rgb": 38, "sound": 100},
    typical={"rgb": 30, "sound": 90},
    labels=Labels("class", ("a", "b"), {}, ("1", "2")),
    clips=PRINTS,
    normalised=True,
    max_length=0,
    resample={"rgb": 12},
    windows=1,
    extract=Extract({"rgb": {"extractor": "frames", "source": "video", "rate": 10}}, {"python": "3"}),
    finetuned_from=Origin("old", "00", Fingerprint(4, "gh")),
)
RESULT = Result(
    method="sft",
    name="sft",
    seed=0,
    fold=None,
    task="class",
    classes=["a", "b"],
    data="manifest.csv",
    epochs=3,
    best_epoch=2,
    seconds=1.5,
    valid={"loss": 0.5, "top1": 1},
    test={"loss": 0.6, "top1": 0.5},
    splits={"train": 6, "valid": 2, "test": 2},
    clips=PRINTS,
    skipped=0,
    cost=Cost(0.1, 0.09, 0.11, 1234, {"rgb": 30}, memory_mb=1.0, latency_ms=2.0, batch=8),
    finetune=Finetune({"lr": 0.1}, Change({"top1": 0.1}, {"top1": 0.2}), Change({}, {}), Change(), {}, from_="old"),
    per_class_ap=[0.5, None],
    confusion=[[1, 0], [0, 1]],
)
RECORDS = [
    MODEL,
    RESULT,
    Config(data=Data(split=Split(folds=[["a"], ["b"]]), pictures={"rgb": Picture(2, 3)}), options={"sft": {"dim": 4}}),
    Environment("0.1", "2.9", "3.11", "Linux x86_64", "2 CPU cores", 2, "abc", 0, "sparsefuse train"),
    Calibration(1.5, 4, 0.9, 0.8),
]
IDS = [type(record).__name__ for record in RECORDS]
EPOCH = Epoch(1, 0.1, 2.0, 1.5, {"valid_loss": 1.0, "valid_top1": 0.5})


def damage(folder: RunFolder, record: Any, path: str, value: Any) -> None:
    """Writes the record's file with another value at a dotted place; ... takes it away."""
    folder.write(record)
    file = folder.file(type(record))
    file.write_text(damaged(file.read_text(), path, value))


def damaged(text: str, path: str, value: Any) -> str:
    """The JSON with another value at a dotted place; ... takes it away."""
    at = tree = json.loads(text)
    *above, last = path.split(".")
    for name in above:
        at = at[int(name)] if isinstance(at, list) else at[name]
    if value is ...:
        del at[last]
    else:
        at[int(last) if isinstance(at, list) else last] = value
    return json.dumps(tree)


@pytest.mark.parametrize("record", RECORDS, ids=IDS)
def test_what_was_written_is_read_back(tmp_path: Path, record: Any) -> None:
    folder = RunFolder(tmp_path)
    assert folder.get(type(record)) is None
    folder.write(record)
    assert folder.read(type(record)) == record


def test_what_a_run_does_not_have_is_not_in_its_files(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write(dataclasses.replace(MODEL, finetuned_from=None, extract=None))
    facts = json.loads((tmp_path / "model.json").read_text())
    assert "finetuned_from" not in facts
    assert facts["extract"] is None
    assert facts["labels"] == {"task": "class", "classes": ["a", "b"], "heads": {}, "ids": ["1", "2"]}
    folder.write(dataclasses.replace(RESULT, finetune=None, confusion=None))
    result = json.loads((tmp_path / "result.json").read_text())
    assert not {"finetune", "confusion", "confusions", "heads"} & result.keys()
    assert result["fold"] is None
    assert result["cost"].keys() >= {"gmacs", "latency_ms"}
    assert "train_ms" not in result["cost"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"is not a run folder: it has no model\.json; expected what `sparsefuse"
    ):
        RunFolder(tmp_path).read(ModelFacts)
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileNotFoundError, match=r"^run folder .*/mien not found; did you mean .*/mine\?$"):
        RunFolder(tmp_path / "mien").read(ModelFacts)
    with pytest.raises(FileNotFoundError, match=r"^run folder .*/elsewhere not found$"):
        RunFolder(tmp_path / "elsewhere").read(ModelFacts)


def test_epochs_after_a_checkpoint_go_and_a_line_cut_by_a_kill_too(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for number in (1, 2, 3):
        folder.add_epoch(dataclasses.replace(EPOCH, epoch=number))
    assert folder.num_epochs == 3
    folder.add_epoch(dataclasses.replace(EPOCH, epoch=2, scores={"valid_loss": 0.25}))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "lr"')
    assert [epoch.epoch for epoch in folder.epochs()] == [1, 2]
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert list(first) == ["epoch", "lr", "train_loss", "valid_loss", "valid_top1", "seconds"]


def test_what_was_left_out_is_read_back(tmp_path: Path) -> None:
    skips = [Skip("a", "rgb", "no file"), Skip("b", "", "the label is empty")]
    RunFolder(tmp_path).write_skips(skips)
    assert RunFolder(tmp_path).skips() == skips


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"epoch": 1, "lr": 0.1, "seconds": 1.0}', "train_loss is missing"),
        ('{"epoch": 1.5, "lr": 0.1, "train_loss": 1.0, "seconds": 1.0}', "epoch is 1.5; expected a whole number"),
        ('{"epoch": 1, "lr": 0.1, "train_loss": 1.0, "seconds": 1.0, "valid_top1": "x"}', "valid_top1 is a text"),
        ('{"epoch": 1, "lr": NaN, "train_loss": 1.0, "seconds": 1.0}', "lr is nan; expected a finite number"),
        ("[1]", "holds a list; expected an object"),
        ("{", "is not JSON"),
        ("\udcff", "is not JSON"),
    ],
)
def test_a_damaged_line_is_named_with_its_number(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f"{EPOCH.line()}{line}\n{EPOCH.line()}", errors="surrogateescape")
    with pytest.raises(ValueError, match=rf"metrics\.jsonl, line 2:? .*{message}|line 2 {message}"):
        RunFolder(tmp_path).epochs()


NESTED: Any = 1
for _ in range(20):
    NESTED = [NESTED]

HOSTILE = {
    "unknown field": (MODEL, "methods", "sft", "model.json: unknown field 'methods'; did you mean 'method'?"),
    "unknown field inside": (MODEL, "labels.tasks", "x", "model.json: labels: unknown field 'tasks'"),
    "huge name": (MODEL, "x" * 5000, 1, f"model.json: unknown field '{'x' * 60}'. available: clips, "),
    "missing field": (MODEL, "method", ..., "model.json: method is missing; fields: name, method"),
    "missing inside": (MODEL, "clips.train.hash", ..., "model.json: clips.train.hash is missing"),
    "another type": (MODEL, "name", 7, "model.json: name is 7; expected a text"),
    "true is no number": (MODEL, "windows", True, "model.json: windows is True; expected a whole number"),
    "null": (MODEL, "labels", None, "model.json: labels is null; expected an object"),
    "list for an object": (MODEL, "features", [5], "model.json: features is a list; expected an object"),
    "part of a list": (MODEL, "labels.classes.1", {}, "model.json: labels.classes.1 is an object; expected a text"),
    "unknown task": (MODEL, "labels.task", "clas", "labels.task: unknown task 'clas'; did you mean 'class'?"),
    "options hold NaN": (MODEL, "options.dim", math.nan, "model.json: options.dim is nan; expected a finite number"),
    "options are huge": (MODEL, "options.dim", 10**4000, "0000...; expected 9,007,199,254,740,992 at most"),
    "options are deep": (MODEL, "options.dim", NESTED, ".0.0.0 is nested more than 16 levels"),
    "no modality": (MODEL, "features", {}, "model.json: features names 0 modalities; expected 1 to 64"),
    "negative width": (MODEL, "features.rgb", -1, "features.rgb is -1; expected a whole number, 1 to 1,000,000"),
    "absurd length": (MODEL, "lengths.rgb", 10**9, "lengths.rgb is 1000000000; expected a whole number"),
    "other modalities": (MODEL, "typical.flow", 3, "typical is of ['flow', 'rgb', 'sound'], features of ['rgb', 'so"),
    "absurd windows": (MODEL, "windows", 10**6, "windows is 1000000; expected a whole number, 1 to 1,000"),
    "no tokens": (MODEL, "resample.rgb", 0, "resample.rgb is 0; expected a whole number, 1 to"),
    "negative head": (MODEL, "labels.heads.x", -1, "labels.heads.x is -1; expected a whole number, 1 to 100,000"),
    "absurdly many classes": (MODEL, "labels.classes", ["a"] * 100_001, "labels.classes has 100,001 names; expected"),
    "negative max_length": (MODEL, "max_length", -1, "max_length is -1; expected a whole number, 0 to"),
    "class twice": (MODEL, "labels.classes.1", "a", "model.json: labels names a class twice"),
    "classes of a number": (MODEL, "labels.task", "regression", "has 2 classes, which task regression cannot have"),
    "no heads": (MODEL, "labels.task", "heads", "labels has heads {} of 2 classes, task heads"),
    "too few ids": (MODEL, "labels.ids", ["1"], "labels has 1 ids of 2 classes"),
    "extractor is no text": (MODEL, "extract.features.rgb.extractor", 3, "rgb.extractor is 3; expected a text"),
    "no extractor": (MODEL, "extract.features.rgb.extractor", ..., "features.rgb.extractor is None; expected a text"),
    "score is NaN": (RESULT, "test.top1", math.nan, "result.json: test.top1 is nan; expected a finite number"),
    "score is infinite": (RESULT, "valid.loss", math.inf, "result.json: valid.loss is inf; expected a finite number"),
    "seed is a text": (RESULT, "seed", "0", "result.json: seed is a text; expected a whole number"),
    "cost is absurd": (RESULT, "cost.parameters", 10**30, "result.json: cost.parameters is 1000000000000000000000"),
    "no cost": (RESULT, "cost", ..., "result.json: cost is missing"),
    "fold is a part": (RESULT, "fold", 0.5, "result.json: fold is 0.5; expected a whole number"),
    "confusion of three": (RESULT, "confusion", [[1]], "result.json: confusion is not 2 x 2"),
    "ragged confusion": (RESULT, "confusion.1", [1], "result.json: confusion is not 2 x 2"),
    "precision of three": (RESULT, "per_class_ap", [0.1], "result.json: per_class_ap has 1 values; expected 2"),
    "confusion of no head": (RESULT, "confusions", {"x": [[1]]}, "result.json: confusions.x is not 0 x 0"),
    "temperature": (RECORDS[4], "temperature", 0, "calibration.json: temperature is 0; expected 0.01 to 100"),
    "split": (RECORDS[2], "data.split.fractions", [0.5], "config.json: data.split.fractions has 1 values; expected 3"),
    "absurdly many windows": (RECORDS[2], "data.windows", 10**9, "config.json: data.windows is 1000000000; expected"),
    "no epochs": (RECORDS[2], "train.epochs", 0, "config.json: train.epochs is 0; expected 1 or more"),
    "threads": (RECORDS[3], "threads", "two", "env.json: threads is a text; expected a whole number"),
}  # fmt: skip


@pytest.mark.parametrize(("record", "path", "value", "message"), HOSTILE.values(), ids=HOSTILE)
def test_what_a_file_may_not_hold_is_refused_in_a_sentence(
    tmp_path: Path, record: Any, path: str, value: Any, message: str
) -> None:
    folder = RunFolder(tmp_path)
    damage(folder, record, path, value)
    with pytest.raises(ValueError) as error:
        folder.read(type(record))
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b'{"name": ', "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "holds a list; expected an object"),
        (b'"text"', "holds a text; expected an object"),
    ],
)
@pytest.mark.parametrize("kind", [ModelFacts, Result])
def test_what_is_no_record_at_all_is_refused(tmp_path: Path, content: bytes, message: str, kind: Any) -> None:
    RunFolder(tmp_path).file(kind).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        RunFolder(tmp_path).read(kind)


def places(value: Any, above: str = "") -> Iterator[str]:
    """The dotted places in a tree."""
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
        place = f"{above}{name}"
        yield place
        if isinstance(inner, dict | list):
            yield from places(inner, f"{place}.")


@pytest.mark.parametrize("record", RECORDS, ids=IDS)
def test_no_damage_is_more_than_a_value_error(tmp_path: Path, record: Any) -> None:
    """Whatever stands at whatever place: it is read, or refused by a ValueError."""
    folder = RunFolder(tmp_path)
    folder.write(record)
    text = folder.file(type(record)).read_text()
    wrong = (None, True, -1, 0, 10**400, 1e308, math.nan, "", "x" * 10, [], {}, [None], {"x": None}, [[[]]])
    read = tried = 0
    for place in places(json.loads(text)):
        for value in wrong:
            folder.file(type(record)).write_text(damaged(text, place, value))
            with contextlib.suppress(ValueError):
                folder.read(type(record))
                read += 1
            tried += 1
    assert 0 < read < tried / 2


def test_a_setting_that_differs_is_named_and_those_that_change_nothing_are_free(tmp_path: Path) -> None:
    folder, config = RunFolder(tmp_path), Config()
    folder.write(config)
    folder.check_same(dataclasses.replace(config, train=dataclasses.replace(config.train, workers=3)))
    folder.check_same(dataclasses.replace(config, recipe="paper"))
    with pytest.raises(ValueError, match=r"was started with train\.epochs=20, not 7; give another folder"):
        folder.check_same(dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=7)))
    with pytest.raises(ValueError, match=r"was started with a\.b=1, not None"):
        check_same_settings({"a": {"b": 1}}, {}, tmp_path)


def test_other_clips_and_other_classes_are_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.check_same_clips(PRINTS, MODEL.labels)  # nothing is there yet
    folder.write(MODEL)
    folder.check_same_clips(PRINTS, MODEL.labels)
    with pytest.raises(ValueError, match=r"started with other clips \(test 2 -> 3 clips\)"):
        folder.check_same_clips({**PRINTS, "test": Fingerprint(3, "ef")}, MODEL.labels)
    with pytest.raises(ValueError, match="started with other classes"):
        folder.check_same_clips(PRINTS, Labels("class", ("a", "c")))


@pytest.mark.parametrize(
    ("test", "clips", "tested"), [({"top1": 1.0}, 2, True), ({}, 2, False), ({}, 0, True)],
)  # fmt: skip
def test_a_run_is_tested_if_its_test_split_is_scored_or_empty(tmp_path: Path, test, clips, tested) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.finished
    assert not folder.tested
    folder.write(dataclasses.replace(RESULT, test=test, splits={"train": 6, "test": clips}))
    assert folder.finished
    assert folder.tested == tested


def test_a_clip_is_given_by_its_modalities_or_what_they_are_made_from(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write(MODEL)
    assert parts_of(folder) == ("rgb", "sound", "video")
