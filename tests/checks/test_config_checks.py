"""A configuration that no run could follow is refused before anything is read or written."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

import tiny
from sparsefuse.checks import check_config
from sparsefuse.config import Config, Data, Picture, SpecAugment, Split, Train
from sparsefuse.experiments.grid import compare
from sparsefuse.training.train import train

GOOD = Config(data=Data(manifest="m.csv"))


def wrong(field: str, value: object) -> Config:
    part, name = field.split(".")
    return dataclasses.replace(GOOD, **{part: dataclasses.replace(getattr(GOOD, part), **{name: value})})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stf": {"dim": 7}}, "options: unknown method 'stf'; did you mean 'sft'"),
        ({"al": {"dim": 7}}, "options: unknown method 'al'; did you mean 'all'"),
        ({"all": {"dimm": 7}}, "unknown option of all methods: 'dimm'; did you mean 'dim'"),
        ({"late": {"dorp": 0.5}}, "unknown option of late 'dorp'; did you mean 'drop'"),
    ],
    ids=str,
)
def test_unknown_options_are_errors_with_the_nearest_match(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_config(dataclasses.replace(GOOD, options=options))


def test_two_means_of_the_weights_are_an_error() -> None:
    both = dataclasses.replace(GOOD, train=Train(ema=0.9, swa=0.25))
    with pytest.raises(
        ValueError, match=r"train.ema is 0.9 and train.swa 0.25: only one average of the weights can be kept"
    ):
        check_config(both)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.spec_augment", {"a": SpecAugment(freq=-1)}, "data.spec_augment: 'a' has freq -1; expected 0 or more"),
        ("data.pictures", {"a": Picture(0, 2)}, "data.pictures: 'a' has height 0; expected 1 or more"),
        ("data.pictures", {"a": Picture(2, 2, crop=1.0)}, "expected crop < 1"),
        ("data.separator", "", "data.separator is ''.*expected a text"),
    ],
    ids=str,
)
def test_augmentation_out_of_range_is_an_error(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_config(wrong(field, value))


def test_a_separator_needs_a_task_of_several_labels() -> None:
    both = Config(data=Data(manifest="m.csv", separator=",", task="multilabel"))
    check_config(both)
    with pytest.raises(ValueError, match=r"separator is ',', data\.task class; expected .* data\.task=multilabel"):
        check_config(dataclasses.replace(both, data=dataclasses.replace(both.data, task="class")))


def test_options_of_other_methods_and_of_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def build(features, num_classes, *, lengths=None, zeal=1): ...\n")
    mine = str(tmp_path / "mine.py")
    options = {"all": {"dim": 7, "num_bottlenecks": 2}, "mbt": {"num_bottlenecks": 3}, "elsewhere/other.py": {"x": 1}}
    check_config(dataclasses.replace(GOOD, options=options))
    check_config(dataclasses.replace(GOOD, method=mine, options={"all": {"zeal": 2}, mine: {"zeal": 3}}))
    with pytest.raises(ValueError, match=r"unknown option of .*mine\.py 'zael'; did you mean 'zeal'"):
        check_config(dataclasses.replace(GOOD, method=mine, options={mine: {"zael": 3}}))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"sound": {"extractor": "spectrogram", "binss": 64}}, "option of extractor 'spectrogram': 'binss'; did you"),
        ({"sound": {"extractor": "spectogram"}}, "unknown extractor 'spectogram'; did you mean 'spectrogram'"),
        ({"sound": {"extracter": "spectrogram"}}, "features: 'sound' names no extractor; got extracter"),
    ],
    ids=str,
)
def test_unknown_keys_of_features_are_errors(features: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_config(dataclasses.replace(GOOD, features=features))


def test_features_of_a_file_need_not_be_here_to_train() -> None:
    check_config(dataclasses.replace(GOOD, features={"sound": {"extractor": "elsewhere/mine.py", "source": "v"}}))


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("train.epochs", 0, "1 or more"),
        ("train.batch_size", 0, "1 or more"),
        ("train.clip", -0.5, "0 or more"),
        ("train.lr", float("nan"), "0 or more"),
        ("data.modality_dropout", 1.0, "0 or more, below 1"),
        ("data.modality_dropout", -0.1, "0 or more, below 1"),
        ("data.windows", 10**9, "1 or more, below 1001"),
        ("train.lr", 1e39, "0 or more, below 1e+06"),
        ("train.decay", float("nan"), "0 or more, below 1"),
        ("train.batch_size", 10**9, "1 or more, below 1e+06"),
    ],
)
def test_numbers_out_of_range_are_errors(field: str, value: float, expected: str) -> None:
    with pytest.raises(ValueError, match=f"{field} is {re.escape(str(value))}; expected {re.escape(expected)}"):
        check_config(wrong(field, value))


def test_the_limits_themselves_are_allowed() -> None:
    check_config(dataclasses.replace(GOOD, train=Train(epochs=1, batch_size=1, lr=0.0, clip=0.0)))


def test_a_missing_manifest_says_what_to_give(tmp_path: Path) -> None:
    for run in (
        lambda: train(Config(), tmp_path / "run", root=Path()),
        lambda: compare(Config(), ["late", "unimodal"], [0], tmp_path / "run", root=Path()),
    ):
        with pytest.raises(ValueError, match=r"no manifest given: --data\.manifest FILE, or a YAML"):
            run()


def test_nothing_is_read_or_written_before_the_check(tmp_path: Path) -> None:
    config = tiny.config(tmp_path / "absent.csv", epochs=0)
    for run in (
        lambda: train(config, tmp_path / "run", root=Path()),
        lambda: compare(config, ["late", "unimodal"], [0], tmp_path / "run", root=Path()),
    ):
        with pytest.raises(ValueError, match=r"train\.epochs is 0"):
            run()
    assert not (tmp_path / "run").exists()


def test_folds_without_a_choice_say_which_flag_to_type(tmp_path: Path) -> None:
    """Else the run would have no test split, and not say so."""
    config = tiny.with_data(tiny.config(tmp_path / "absent.csv"), split=Split(folds=[["1", "2"], ["3"]]))
    with pytest.raises(ValueError, match=r"lists 2 test splits .*--data\.split\.test_groups 1,2, or .*compare"):
        train(config, tmp_path / "run", root=Path())


def test_k_folds_need_one_that_is_chosen_and_no_other_test_split(tmp_path: Path) -> None:
    def of(**split: Any) -> Config:
        return tiny.with_data(tiny.config(tmp_path / "absent.csv"), split=Split(**split))

    with pytest.raises(ValueError, match=r"data\.split\.k is 5: that many .* --data\.split\.fold 0, or .*compare"):
        train(of(k=5), tmp_path / "run", root=Path())
    for wrong in ({"k": 1}, {"k": 5, "fold": 5}, {"k": 5, "fold": -1}, {"fold": 0}):
        with pytest.raises(ValueError, match=r"expected k of 2 or more \(0 = off\), fold from 0, below k"):
            check_config(of(**wrong))
    for other in ({"folds": [["a"]]}, {"test_groups": ["a"]}, {"by": "given"}):
        with pytest.raises(ValueError, match=r"data\.split\.k is 5, so folds are drawn; leave out folds, test_groups"):
            check_config(of(k=5, **other))
