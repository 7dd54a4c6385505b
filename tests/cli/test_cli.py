"""The command line: quick help, short forms, and errors of two lines with the nearest match."""

import ast
import inspect
import io
import json
import logging
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import yaml

import tiny
from command import call
from sparsefuse.cli import app
from sparsefuse.config import Config
from sparsefuse.methods import methods


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch):
    """What a verb's function would be called with: `parsed("train", "--seed", "3")`."""

    def parse(*arguments: object) -> dict:
        given: dict = {}
        verb = str(arguments[0])
        real = app.VERBS[verb]

        def noted(**kwargs) -> None:
            given.update(kwargs)

        noted.__signature__ = __import__("inspect").signature(real)
        noted.__doc__ = real.__doc__
        noted.__annotations__ = real.__annotations__
        with monkeypatch.context() as patch:
            patch.setitem(app.VERBS, verb, noted)
            code = call(monkeypatch, *arguments)
        assert code == 0, code
        return given

    return parse


NO_TORCH = """
import sys
from sparsefuse.cli.app import main
sys.argv = ["sparsefuse", *sys.argv[1:]]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
heavy = {"torch", "numpy", "torchmetrics", "matplotlib", "av", "h5py", "scipy"} & sys.modules.keys()
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["train", "--help"], ["cost", "--help"], ["prepare", "--help"]],
    ids=" ".join,
)
def test_help_needs_no_torch(arguments: list[str]) -> None:
    ended = subprocess.run([sys.executable, "-c", NO_TORCH, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "sparsefuse" in ended.stdout


@pytest.mark.parametrize("verb", app.VERBS)
def test_every_verb_has_help_for_every_argument(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, verb, "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert (app.VERBS[verb].__doc__ or "").splitlines()[0] in text
    for name in app.inspect.signature(app.VERBS[verb]).parameters:
        if name != "config":
            assert name in text.replace("-", "_") or name.upper() in text
    for line in (app.VERBS[verb].__doc__ or "").partition("Args:")[2].splitlines():
        assert " ".join(re.sub(r"^ +\w+: ", "", line).split()) in text  # whole, of entries of two lines too
    assert not re.search("<class|LIST_OF_PATHS", text)
    if verb in app.WITH_CONFIG:
        assert "--train.lr" in text
        assert "learning rate, before warm-up" in text


def test_help_groups_the_verbs_a_line_each(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < 80
    assert lines.index("start here:") < lines.index("data:") < lines.index("training and comparing:")
    assert lines[lines.index("data:") - 5 : lines.index("data:") - 1] == [
        "  demo            Shows the usual steps in a few minutes, on clips it renders",
        "  fit             Makes a model of a folder or table of clips, in one call",
        "  predict         Predicts the labels of files, or of a manifest's clips",
        "  serve           Serves a model over HTTP, with a web page",
    ]
    assert sorted(line.split()[0] for line in lines if line.startswith("  ")) == sorted(app.VERBS)


def test_help_lists_the_methods(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "train", "--help") == 0
    assert ", ".join(methods()) in " ".join(capsys.readouterr().out.split())


def test_prepare_lists_its_recipes_and_takes_their_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], parsed
) -> None:
    assert call(monkeypatch, "prepare", "--help") == 0
    assert "  vggsound   VGGSound: ten-second YouTube clips of 309 sounds" in capsys.readouterr().out
    assert call(monkeypatch, "prepare", "vggsound", "--help") == 0
    assert "--options.subset: Literal['all', 'vggs10', 'vggs100'] = 'all'" in capsys.readouterr().out
    given = parsed("prepare", "vggsound", "in", "--out", "out", "--options.subset", "vggs10", "--options.valid", "0.1")
    assert given["options"] == {"subset": "vggs10", "valid": 0.1}
    assert "did you mean 'vggsound'" in str(call(monkeypatch, "prepare", "vgsound", "in", "--out", "out"))


def test_python_m_answers_too() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "sparsefuse", "--version"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout.split()[0]) == (0, "sparsefuse")


def test_no_verb_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch) == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], "unknown command 'trian'; did you mean 'train'?"),
        (["train", "--train.lrr", "3"], "unknown option '--train.lrr'; did you mean '--train.lr'?"),
        (["cost", "--num-clases", "3"], "unknown option '--num-clases'; did you mean '--num-classes'?"),
        (["train", "--train.lr", "fast"], "train.lr"),
        (["train", "--train.precision", "float8"], "train.precision"),
        (["eval", "run", "--split", "tests"], "split"),
    ],
    ids=" ".join,
)
def test_wrong_words_are_errors_of_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert call(monkeypatch, *arguments) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert expected in text
    verb = arguments[0] if arguments[0] in app.VERBS else ""
    assert text.splitlines()[-1].split() == ["help:", "sparsefuse", *verb.split(), "--help"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"trian": {"lr": 0.1}}, "'trian.lr'; did you mean 'train.lr'"),
        ({"train": {"epoch": 3}}, "did you mean 'train.epochs'"),
        ({"method": "sft", "data": {"manifests": "x.csv"}}, "did you mean 'data.manifest'"),
    ],
    ids=str,
)
def test_an_unknown_key_in_the_file_is_an_error_with_the_nearest_match(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    written: dict,
    expected: str,
) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(written))
    assert call(monkeypatch, "train", tmp_path / "c.yaml") == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--train.epochs", "0"], "error: train.epochs is 0; expected 1 or more"),
        (["--method", "stf"], "error: unknown method 'stf'; did you mean 'sft'?"),
        (["--options.sft.depth", "3"], "unknown option of sft 'depth'"),
        (["--data.label", "lable"], "unknown column 'lable'; did you mean 'label'?"),
        (["--data.modalities", "rbg"], "unknown modality 'rbg'; did you mean 'rgb'?"),
    ],
    ids=" ".join,
)
def test_wrong_names_end_with_one_line_and_the_nearest_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    manifest = tiny.write_set(tmp_path / "data", (3, 1, 1))
    ended = call(monkeypatch, "train", manifest, "--out", tmp_path / "run", "--train.device", "cpu", *arguments)
    assert isinstance(ended, str), "a text makes Python exit with code 1"
    assert expected in ended
    assert "\n" not in ended


@pytest.mark.slow
def test_lists_are_written_with_commas(parsed) -> None:
    given = parsed("compare", "m.csv", "--methods", "sft,late", "--seeds=0,4", "--data.modalities", "rgb,sound")
    assert given["methods"] == ["sft", "late"]
    assert given["seeds"] == [0, 4]
    assert given["config"].data.modalities == ["rgb", "sound"]
    assert parsed("compare", "m.csv", "--methods", "[sft, late]")["methods"] == ["sft", "late"]
    assert parsed("compare", "m.csv", "--methods", "late")["methods"] == ["late"]
    assert parsed("compare", "m.csv", "--modalities", "each,leave-one-out")["modalities"] == ["each", "leave-one-out"]


@pytest.mark.slow
def test_names_in_lists_may_look_like_numbers(parsed) -> None:
    for groups in ("1,2", "[1, 2]", '["1", "2"]', "1, 2"):
        split = parsed("train", "m.csv", "--data.split.test-groups", groups)["config"].data.split
        assert split.test_groups == ["1", "2"]
    assert parsed("train", "m.csv", "--data.split.folds", "[[1,2],[x]]")["config"].data.split.folds == [
        ["1", "2"],
        ["x"],
    ]
    assert parsed("train", "m.csv", "--data.split.test_groups=")["config"].data.split.test_groups == []


def test_fractions_are_written_with_commas(parsed) -> None:
    for fractions in ("0.8,0.1,0.1", "[0.8,0.1,0.1]"):
        split = parsed("train", "m.csv", "--data.split.fractions", fractions)["config"].data.split
        assert split.fractions == (0.8, 0.1, 0.1)


def test_mappings_are_written_with_equals_signs(parsed) -> None:
    given = parsed("cost", "--lengths", "rgb=38,sound=1200", "--options", "sft.sparse=dense,sft.keep=3,mbt.drop=0.5")
    assert given["lengths"] == {"rgb": 38, "sound": 1200}
    assert given["options"] == {"sft": {"sparse": "dense", "keep": 3}, "mbt": {"drop": 0.5}}
    assert parsed("cost", "--lengths=rgb=38")["lengths"] == {"rgb": 38}
    assert parsed("cost", "--lengths", '{"rgb": 38}')["lengths"] == {"rgb": 38}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], {"sft": {"keep": {"rgb": 12}, "sparse": "strided"}, "late": {"drop": 0.001}}),
        (["--options", "sft.sparse=dense"], {"sft": {"keep": {"rgb": 12}, "sparse": "dense"}, "late": {"drop": 0.001}}),
        (["--options.sft.sparse", "dense"], {"sft": {"keep": {"rgb": 12}, "sparse": "dense"}, "late": {"drop": 0.001}}),
        (["--options", '{"late": {"drop": 1e-2}}', "--options.all=dim=8", "--options", "all.num_heads=2"],
         {"sft": {"keep": {"rgb": 12}, "sparse": "strided"}, "late": {"drop": 0.01},
          "all": {"dim": 8, "num_heads": 2}}),
        (["--options", "sft.keep=3"], {"sft": {"keep": 3, "sparse": "strided"}, "late": {"drop": 0.001}}),
        (["--options", "../my/fusion.py.zeal=3"], {"sft": {"keep": {"rgb": 12}, "sparse": "strided"},
         "late": {"drop": 0.001}, "../my/fusion.py": {"zeal": 3}}),
    ],
    ids=str,
)  # fmt: skip
def test_flags_of_a_mapping_go_on_top_of_the_yaml(tmp_path: Path, parsed, flags: list[str], expected: dict) -> None:
    (tmp_path / "c.yaml").write_text("options: {sft: {keep: {rgb: 12}, sparse: strided}, late: {drop: 1e-3}}\n")
    assert parsed("train", tmp_path / "c.yaml", *flags)["config"].options == expected
    assert parsed("train", *flags, "--config", tmp_path / "c.yaml")["config"].options == expected


def test_flags_for_features_go_on_top_of_the_yaml(tmp_path: Path, parsed) -> None:
    (tmp_path / "c.yaml").write_text("features: {sound: {extractor: spectrogram, bins: 64}}\n")
    given = parsed("extract", tmp_path / "c.yaml", "m.csv", "--out", "o", "--features.sound.bins", "32")
    assert given["config"].features == {"sound": {"extractor": "spectrogram", "bins": 32}}


@pytest.mark.slow
def test_a_mapping_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for wrong in (["--options", "sft"], ["--options", "sft=3"], ["--options.sft", "3"], ["--options"]):
        assert call(monkeypatch, "train", "m.csv", *wrong) == 2
        assert "options" in capsys.readouterr().err


@pytest.mark.slow
def test_hyphens_and_underscores_are_the_same_in_flags_only(parsed) -> None:
    assert parsed("cost", "--num-classes", "7")["num_classes"] == 7
    assert parsed("cost", "--num_classes=7")["num_classes"] == 7
    assert parsed("extract", "m.csv", "--out", "f", "--roots", "a,b")["roots"] == [Path("a"), Path("b")]
    assert parsed("cost", "--device-profile", "runs/a,b.onnx")["device_profile"] == [Path("runs/a"), Path("b.onnx")]
    given = parsed("train", "my-clips.csv", "--out", "runs/a-b", "--train.batch-size", "3")
    assert given["out"] == Path("runs/a-b")
    assert given["config"].data.manifest == "my-clips.csv"
    assert given["config"].train.batch_size == 3


def test_nested_options_of_a_method_are_flags(parsed) -> None:
    given = parsed("train", "m.csv", "--options", "sft.keep.rgb=12,sft.keep.sound=20")
    assert given["config"].options == {"sft": {"keep": {"rgb": 12, "sound": 20}}}


def test_a_leading_yaml_is_the_configuration_and_flags_go_on_top(tmp_path: Path, parsed) -> None:
    (tmp_path / "c.yaml").write_text("method: late\ntrain: {epochs: 3, lr: 0.5}\n")
    for arguments in (["train", tmp_path / "c.yaml"], ["train", "--config", tmp_path / "c.yaml"]):
        found = parsed(*arguments, "--train.epochs", "4")["config"]
        assert isinstance(found, Config)
        assert (found.method, found.train.epochs, found.train.lr) == ("late", 4, 0.5)


def test_a_manifest_in_the_yaml_is_relative_to_it_and_one_in_a_flag_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parsed
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "c.yaml").write_text("data: {manifest: clips.csv}\n")
    monkeypatch.chdir(tmp_path)
    assert Path(parsed("train", "set/c.yaml")["config"].data.manifest) == Path("set/clips.csv")
    flag = parsed("train", "set/c.yaml", "--data.manifest", "other/clips.csv")
    assert flag["config"].data.manifest == "other/clips.csv"
    same = parsed("train", "set/c.yaml", "--data.manifest", "clips.csv")
    assert same["config"].data.manifest == "clips.csv", "also where both say the same"


@pytest.mark.slow
def test_lists_of_classes_in_the_yaml_are_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parsed
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "c.yaml").write_text("data: {manifest: clips.csv, classes: {verb: lists/verbs.csv}}\n")
    monkeypatch.chdir(tmp_path)
    for more in ([], ["--data.manifest", "other/clips.csv"]):
        found = parsed("train", "set/c.yaml", *more)["config"].data
        assert {name: Path(file) for name, file in found.classes.items()} == {"verb": Path("set/lists/verbs.csv")}
    flag = parsed("train", "set/c.yaml", "--data.classes.verb", "mine.csv")["config"].data
    assert flag.classes == {"verb": "mine.csv"}


@pytest.mark.usefixtures("made_up_costs")
def test_train_eval_predict_and_resume_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny.config(Path("manifest.csv"), "late", epochs=1)
    tiny.write_set(tmp_path / "data")
    tiny.write_yaml(tmp_path / "data" / "c.yaml", config)
    run = tmp_path / "run"
    assert call(monkeypatch, "train", tmp_path / "data" / "c.yaml", "--out", run) == 0
    assert "late" in capsys.readouterr().out
    again = call(monkeypatch, "train", tmp_path / "data" / "c.yaml", "--out", run)
    assert again == f"error: {run} holds a run already; continue it with --resume, or give another folder"
    assert call(monkeypatch, "train", tmp_path / "data" / "c.yaml", "--out", run, "--resume") == 0
    capsys.readouterr()
    assert call(monkeypatch, "eval", run, "--split", "valid") == 0
    loss = json.loads((run / "result.json").read_text())["valid"]["loss"]
    assert f"{loss:.4f}" in capsys.readouterr().out
    assert call(monkeypatch, "predict", run, tmp_path / "data" / "manifest.csv", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 17
    assert lines[1]["missing"] == {"rgb": "not given"}
    (tmp_path / "broken.mp4").write_bytes(b"none")
    assert call(monkeypatch, "predict", run, tmp_path / "broken.mp4") == 1
    assert "cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["eval", "predict"])
def test_what_is_no_run_folder_ends_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    ended = call(monkeypatch, verb, tmp_path, *(["x.npy"] if verb == "predict" else []))
    assert str(ended).startswith(f"error: {tmp_path} is not a run folder")


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_compare_ends_with_code_1_when_a_run_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(
        "def build(features, num_classes, *, lengths=None):\n    raise ValueError('no')\n"
    )
    manifest = tiny.write_set(tmp_path / "data")
    yaml_file = tiny.write_yaml(tmp_path / "c.yaml", tiny.config(manifest, epochs=1))
    methods = f"late,{tmp_path / 'mine.py'}"
    ended = call(monkeypatch, "compare", yaml_file, "--methods", methods, "--seeds", "0", "--jobs", "1",
                 "--no-baseline", "--out", tmp_path / "out")  # fmt: skip
    assert str(ended).startswith("1 run failed:")
    assert "ValueError: no" in str(ended)
    assert "late" in capsys.readouterr().out
    assert {"compare.csv", "compare.md", "report.html"} <= {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_ablate_gives_a_line_per_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    yaml_file = tiny.write_yaml(tmp_path / "c.yaml", tiny.config(tiny.write_set(tmp_path / "data"), epochs=1))
    given = ("--option", "pool", "--values", "avg,max", "--seeds", "0", "--jobs", "1", "--out", tmp_path / "out")
    assert call(monkeypatch, "ablate", yaml_file, *given) == 0
    assert (tmp_path / "out/ablate.csv").read_text().count("sft, pool=") == 2
    for value in ("avg", "max"):
        facts = json.loads((tmp_path / f"out/sft-pool-{value}-seed0/model.json").read_text())
        assert facts["options"]["pool"] == value
    assert "pool=max" in capsys.readouterr().out


def test_a_studys_mistakes_end_with_one_line_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml_file = tiny.write_yaml(tmp_path / "c.yaml", tiny.config(tiny.write_set(tmp_path / "data")))
    ended = call(monkeypatch, "study", yaml_file, "--study.experiments", "t1,t9", "--out", tmp_path / "out")
    assert str(ended).startswith("error: unknown experiment 't9'; did you mean 't")
    ended = call(monkeypatch, "study", yaml_file, "--study.seeds", "3", "--out", tmp_path / "out")
    assert str(ended) == "error: study.seeds is [3]; a deviation needs two different seeds or more"
    assert not (tmp_path / "out").exists()


def test_generate_writes_a_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--clips", "60", "--lengths", "left=8,right=9", "--out", tmp_path / "made")
    assert call(monkeypatch, "generate", *given) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "made/manifest.csv")
    assert len((tmp_path / "made/manifest.csv").read_text().splitlines()) == 61


def test_log_lines_go_to_what_stands_in_for_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live progress bar puts itself in the place of sys.stderr, so that lines appear above it."""
    handler = app._Stderr()
    monkeypatch.setattr(sys, "stderr", screen := io.StringIO())
    handler.handle(logging.makeLogRecord({"msg": "half the clips are left"}))
    assert screen.getvalue() == "half the clips are left\n"


@pytest.mark.slow
def test_cost_of_published_shapes_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "cost", "--shapes", "vggs", "--methods", "sft,late", "--json") == 0
    found = {line["method"]: line for line in json.loads(capsys.readouterr().out)}
    assert found["sft"]["gmacs"]["paper"] == pytest.approx(0.259, rel=0.01)
    assert found["sft"]["reported_gmacs"] == 0.25
    for line in found.values():
        parts = line["gmacs"]
        assert parts["total"] == pytest.approx(parts["embed"] + parts["layers"] + parts["head"])


def test_cost_of_given_lengths_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lengths, features = "rgb=38,flow=38,spectrogram=1200", "rgb=1024,flow=1024,spectrogram=128"
    arguments = ["--lengths", lengths, "--features", features, "--methods", "concat,sft", "--num-classes", "10"]
    assert call(monkeypatch, "cost", *arguments, "--json") == 0
    found = {line["method"]: line for line in json.loads(capsys.readouterr().out)}
    assert found.keys() == {"concat", "sft"}
    assert found["concat"]["gmacs"]["paper"] == pytest.approx(1.715, rel=0.01)
    assert found["concat"]["gmacs"]["embed"] == pytest.approx((2 * 38 * 1024 + 1200 * 128) * 40 / 1e9)


def test_cost_is_a_table_on_the_screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "cost", "--shapes", "mosei", "--methods", "late") == 0
    text = capsys.readouterr().out
    assert "late" in text
    assert "0.59" in text


def test_cost_without_lengths_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--lengths" in str(call(monkeypatch, "cost"))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["predict", "runs/a"], "error: missing: files\nhelp:  sparsefuse predict --help\n"),
        (["extract"], "error: missing: manifest, --out\nhelp:  sparsefuse extract --help\n"),
        (
            ["export", "runs/a", "--format", "onx"],
            "error: unknown --format 'onx'; did you mean 'onnx'? available: onnx, pt2\n"
            "help:  sparsefuse export --help\n",
        ),
    ],
)
def test_what_is_missing_or_no_choice_is_named_as_it_is_typed(monkeypatch, capsys, typed: list[str], message: str):
    assert call(monkeypatch, *typed) == 2
    assert capsys.readouterr().err == message


def test_a_warning_begins_with_that_word(capsys: pytest.CaptureFixture[str]) -> None:
    handler = app._Stderr()
    for level, text in ((logging.INFO, "read"), (logging.WARNING, "one is lost")):
        handler.handle(logging.makeLogRecord({"levelno": level, "msg": text}))
    assert capsys.readouterr().err == "read\nwarning: one is lost\n"


def test_env_says_which_backend_is_used(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SPARSEFUSE_BACKEND", "torch")
    assert call(monkeypatch, "env") == 0
    lines = dict(line.strip().split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["requested"] == "SPARSEFUSE_BACKEND=torch"
    assert lines["backend torch"] == "used"
    assert lines["backend native"].startswith("not used: ")
    monkeypatch.setenv("SPARSEFUSE_BACKEND", "nativ")
    assert "did you mean 'native'" in str(call(monkeypatch, "env"))


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)


ODD = {
    "aliases": (ALIASES.encode(), "more than 100,000 values"),
    "itself": (b"options: &o {sft: *o}\n", "more than 100,000 values"),
    "deep": (b"options: " + b"[" * 3000 + b"]" * 3000, "more than 50 levels"),
    "chain": (b"a0: &a0 x\n" + b"".join(b"a%d: &a%d [*a%d]\n" % (i, i, i - 1) for i in range(1, 90)), "50 levels"),
    "digits": (b"seed: " + b"9" * 5000, "Exceeds the limit"),
    "utf-16": ("method: sft\n".encode("utf-16"), "not UTF-8 text (byte 0); save it in UTF-8"),
    "latin-1": ("label: caf\u00e9\n".encode("latin-1"), "not UTF-8 text (byte 10)"),
    "open": (b"method: [sft\n", "not a YAML configuration"),
    "a section twice": (b"train: {epochs: 3}\ntrain: {lr: 1}\n", "'train' is on lines 1 and 2; merge them"),
    "zero": (b"method: \x00\n", "not a YAML configuration"),
    "section": (b"data:\n  split:\n", "data: split is a section, expected fields below it; got None"),
    "list": (b"- sft\n", "holds no fields"),
    "seed": (b"seed: " + b"x" * 30_000, "seed"),
    "name": (b"x" * 900 + b": 3", "option"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_configuration_that_cannot_be_read_is_a_short_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = tmp_path / "c.yaml"
    content, message = ODD[name]
    path.write_bytes(content)
    code = call(monkeypatch, "check", path)
    text = f"{code}{capsys.readouterr().err}"
    assert message in text
    assert "error: " in text
    assert len(text) < 1200


def test_a_byte_order_mark_is_no_part_of_a_configuration(tmp_path: Path, parsed) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 3\n", encoding="utf-8-sig")
    assert parsed("train", path)["config"].seed == 3


def test_an_error_holds_no_control_letter_of_a_name(monkeypatch, tmp_path):
    found = call(monkeypatch, "check", tmp_path / "a\x1b[31m.csv")
    assert "a?[31m.csv" in found
    assert "\x1b" not in found


def test_names_of_files_that_begin_with_a_dash_are_no_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parsed
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-odd.mp4", "--x_-y.mp4", "-m.csv"):
        Path(name).touch()
    given = parsed("predict", "run", "-odd.mp4", "--x_-y.mp4", "-", "--top", "2")
    assert (given["files"], given["top"]) == ([Path("-odd.mp4"), Path("--x_-y.mp4"), Path("-")], 2)
    assert parsed("train", "--data.manifest", "-m.csv", "--out", "o")["config"].data.manifest == "./-m.csv"
    given = parsed("predict", "run", "--top", "2", "--", "-missing.mp4", "--top")
    assert given["files"] == [Path("-missing.mp4"), Path("--top")]
    assert parsed("extract", "-m.csv", "--out", "o")["manifest"] == Path("-m.csv")


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"PYTHONIOENCODING": "ascii"}, marks=pytest.mark.slow),
        pytest.param({"LC_ALL": "C"}, marks=pytest.mark.slow),
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["ascii output", "C", "ascii names"],
)
def test_a_console_without_utf_8_ends_no_work(tmp_path: Path, variables: dict[str, str]) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    lines = [f"é{i},{name},{'ab'[i % 2]}" for i, name in enumerate(["a.npy"] * 8 + ["é.npy", "-\u65e5.npy"])]
    (tmp_path / "m.csv").write_text("\n".join(["id,rgb,label", *lines]), encoding="utf-8")
    command = [sys.executable, "-m", "sparsefuse", "check", "m.csv"]
    env = tiny.environment() | variables
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False)
    said = ended.stdout.decode("utf-8") + ended.stderr.decode("utf-8")
    assert "m.csv: 10 samples" in said
    assert "Traceback" not in said
    assert "2 found" in said, said


def test_offline_keeps_to_the_cache_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    from sparsefuse.media.fetch import allowed_roots

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delitem(sys.modules, "huggingface_hub.constants", raising=False)  # it would stay offline
    assert allowed_roots(False, []) is None
    assert os.environ["HF_HUB_OFFLINE"] == "0"
    assert allowed_roots(True, [Path("x")]) == [Path("x")]
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(ValueError, match="--roots names what may be read with --offline"):
        allowed_roots(False, [Path("x")])


VERB_LINES = 15


@pytest.mark.parametrize("verb", app.VERBS)
def test_a_verb_is_a_few_lines_over_a_function(verb: str) -> None:
    """Its docstring and its options apart: what it does can be done from Python."""
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(app.VERBS[verb]))).body
    assert isinstance(function, ast.FunctionDef)
    body = function.body[1:]  # after the docstring
    lines = {line for part in body for line in range(part.lineno, (part.end_lineno or 0) + 1)}
    assert len(lines) <= VERB_LINES, lines


@pytest.mark.slow
def test_missing_data_quotes_the_recipe_of_the_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = "sparsefuse prepare utd_mhad DATA --out runs/x"
    head = f"# A set.\n#\n#   {made}\n#   sparsefuse train x.yaml\n"
    (tmp_path / "x.yaml").write_text(head + "data: {manifest: gone.csv}\n# sparsefuse prepare too late\n")
    monkeypatch.chdir(tmp_path)
    for verb in ("train", "check"):
        said = str(call(monkeypatch, verb, "x.yaml")).splitlines()
        assert said[0].startswith("error: manifest gone.csv not found")
        assert said[1:] == ["x.yaml says how to make its data:", f"  {made}"]
    (tmp_path / "x.yaml").write_text("data: {manifest: gone.csv}\n")
    assert len(str(call(monkeypatch, "train", "x.yaml")).splitlines()) == 1


@pytest.mark.slow
def test_a_reader_that_wants_no_more_is_no_error() -> None:
    command = [sys.executable, "-m", "sparsefuse", "cost", "--shapes", "mosei", "--methods", "late", "--json"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
