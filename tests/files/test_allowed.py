"""What --offline lets a manifest name: files below its own folder and --roots, links followed."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from command import call
from sparsefuse.cli.verbs import LIMITED, VERBS
from sparsefuse.config import Data
from sparsefuse.data.manifest import read_manifest
from sparsefuse.data.pixels.table import read_rows
from sparsefuse.explain.page import explain_clip
from sparsefuse.features.extract import extract
from sparsefuse.files.allowed import allow_only, allowed, check_named, lies_below
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.predictor import load
from sparsefuse.media.fetch import check_allowed
from sparsefuse.training.train import train
from tiny import config, write_set


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins, and ends, where any file may be read."""
    for name in ("SPARSEFUSE_ROOTS", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a feature file, beside one outside it and a link to that one."""
    (tmp_path / "in").mkdir()
    for place in ("in/x.npy", "out.npy"):
        np.save(tmp_path / place, np.ones((3, 4), dtype=np.float32))
    (tmp_path / "in/link.npy").symlink_to(tmp_path / "out.npy")
    return tmp_path / "in"


def manifest(folder: Path, *cells: str) -> Path:
    rows = [f"{i},{cell},{'ab'[i % 2]}" for i, cell in enumerate(cells)]
    (folder / "m.csv").write_text("\n".join(["id,sound,label", *rows]) + "\n")
    return folder / "m.csv"


def test_any_file_may_be_read_until_some_alone_are_allowed(tmp_path):
    assert allowed() is None
    check_named(tmp_path / "m.csv", [("one", "sound", "/etc/passwd")])
    allow_only([tmp_path / "a"])
    assert allowed() == [str(tmp_path.resolve() / "a")]
    assert lies_below(tmp_path / "a/b", [str(tmp_path / "a")])
    assert not lies_below(tmp_path / "ab", [str(tmp_path / "a")])


@pytest.mark.parametrize("cell", ["../out.npy", "link.npy", "../in/../out.npy", "../out.npy#k", "../out.npy#0:2"])
def test_a_file_elsewhere_is_refused_by_name(folder: Path, cell: str):
    allow_only([])
    with pytest.raises(
        ValueError, match=rf"m\.csv: sound of 1 names {cell}.*, which does not lie in .*add it by --roots"
    ):
        read_manifest(manifest(folder, "x.npy", cell))
    allow_only([folder.parent])
    assert len(read_manifest(manifest(folder, "x.npy", cell)).rows) == 2


def test_an_absolute_path_is_refused_and_others_are_counted(folder: Path):
    allow_only([])
    outside = str(folder.parent / "out.npy")
    with pytest.raises(ValueError, match=r"names .*out\.npy \(and 1 more\), which"):
        read_manifest(manifest(folder, outside, "x.npy", "../out.npy"))


@pytest.mark.parametrize("name", ["link.npy", "link.npy#k"])
def test_what_links_lead_to_counts_with_a_key_too(folder: Path, name: str):
    check_allowed(str(folder / "x.npy#k"), [str(folder)])
    with pytest.raises(Unusable, match="reads no other folder"):
        check_allowed(str(folder / name), [str(folder)])


def test_a_file_that_is_not_there_costs_its_clip_as_ever(folder: Path):
    allow_only([])
    assert len(read_manifest(manifest(folder, "x.npy", "../gone.npy")).rows) == 2
    check_named(folder / "m.csv", [("one", "sound", "a\0b.npy")])


@pytest.mark.parametrize("row", ["0,../out.png,in.png", "0,in.png,../out.png"])
def test_pictures_of_scenes_and_of_their_labels_lie_below_the_roots(folder: Path, row: str):
    for place in ("in.png", "../out.png"):
        (folder / place).write_bytes(b"picture")
    (folder / "m.csv").write_text(f"id,rgb,label\n{row}\n")
    data = Data(manifest=str(folder / "m.csv"), task="segment")
    allow_only([])
    with pytest.raises(ValueError, match=r"of 0 names \.\./out\.png, which does not lie in"):
        read_rows(data, Path())
    allow_only([folder.parent])
    assert len(read_rows(data, Path()).rows) == 1


def test_extraction_keeps_to_what_is_allowed(folder: Path):
    (folder.parent / "said.txt").write_text("hello there")
    (folder / "said.txt").write_text("hello here")
    allow_only([])
    features = {"words": {"extractor": "text", "source": "sound"}}
    found = extract(manifest(folder, "said.txt", "../said.txt"), folder / "made", features=features, jobs=1)
    assert ["--offline reads no other folder" in skip.reason for skip in found.skipped] == [True]


@pytest.mark.parametrize("verb", LIMITED)
def test_every_verb_that_reads_manifests_has_the_options(verb: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """And gives them to what it calls, in this process and in those that start later."""
    seen: list[list[str] | None] = []
    real = VERBS[verb]

    def noted(**arguments: object) -> None:
        assert not {"offline", "roots"} & arguments.keys()
        seen.append(allowed())

    noted.__signature__ = __import__("inspect").signature(real)  # type: ignore[attr-defined]
    noted.__doc__, noted.__annotations__ = real.__doc__, real.__annotations__
    monkeypatch.setitem(VERBS, verb, noted)
    monkeypatch.setattr("sparsefuse.cli.app.in_use", lambda out: __import__("contextlib").nullcontext())
    (tmp_path / "c.yaml").write_text("data: {manifest: /data/m.csv}\n")
    words = {
        "check": "/data/m.csv",
        **dict.fromkeys(("eval", "explain", "export", "remember"), "r"),
        "finetune": "r m.csv --out o",
        "ablate": "/data/m.csv --out o --option seed --values 1",
        **dict.fromkeys(("budget", "search-views"), "/data/m.csv --out o --gmacs 1"),
        "distill": f"--config {tmp_path}/c.yaml teacher --out o",
    }
    command = [verb, *words.get(verb, "/data/m.csv --out o").split(), "--offline", "--roots", "/a,/b"]
    assert call(monkeypatch, *command) == 0
    assert seen == [["/a", "/b", *(["/data"] if verb == "fit" else [])]]
    assert json.loads(os.environ["SPARSEFUSE_ROOTS"]) == seen[0]


def test_roots_without_offline_are_an_error(monkeypatch, folder: Path):
    said = call(monkeypatch, "check", manifest(folder, "x.npy"), "--roots", "/a")
    assert said == "error: --roots names what may be read with --offline; give that too"


def test_a_check_offline_says_which_file_lies_elsewhere(monkeypatch, folder: Path, capsys):
    assert call(monkeypatch, "check", manifest(folder, "x.npy", "../out.npy"), "--offline") == 1
    assert "--offline reads no other folder" in " ".join(capsys.readouterr().out.split())


def test_a_clip_to_explain_and_a_table_of_the_run_lie_below_the_roots(folder: Path, tmp_path: Path):
    run = train(config(write_set(tmp_path / "set"), epochs=1), tmp_path / "trained", measured=False)
    allow_only([])
    with pytest.raises(ValueError, match=r"names .*out\.npy, which does not lie in"):
        explain_clip(run, None, manifest=manifest(folder, "../out.npy"), id="0")
    facts = json.loads((run / "model.json").read_text())
    (tmp_path / "words.txt").write_text("a 1 2 3 4\n")
    spec = {"extractor": "text", "source": "said", "table": str(tmp_path / "words.txt")}
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run/model.json").write_text(json.dumps(facts | {"extract": {"features": {"sound": spec}}}))
    with pytest.raises(Unusable, match=r"words\.txt: does not lie in .*run; --offline reads no other folder"):
        load(tmp_path / "run")
