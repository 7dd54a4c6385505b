"""Extractors whose frames are several tokens say how many, and training keeps these together."""

import json
from pathlib import Path

import pytest

from sparsefuse.checks import check
from sparsefuse.config import Config
from sparsefuse.data.clips import load_clips
from sparsefuse.data.grids import patches_in
from sparsefuse.features.extract import extract
from sparsefuse.files.rows import write_table
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ModelFacts
from sparsefuse.training.train import train

OWN = """
from dataclasses import dataclass

import numpy as np

from sparsefuse.media import FileRequest

SOURCE = "text"


@dataclass(frozen=True)
class Extractor:
    side: int = 3

    def request(self):
        return FileRequest(parts=True)

    def features(self, file):
        return np.full((2 * self.side, 4), len(file.path.read_text()), np.float32)

    def patches(self):
        return self.side
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of clips of two frames of three tokens, and of two frames of one."""
    (tmp_path / "own.py").write_text(OWN)
    rows = []
    for i in range(12):
        (tmp_path / f"{i}.txt").write_text("word " * (i + 1))
        rows.append({"id": f"c{i}", "text": f"{i}.txt", "label": "ab"[i % 2]})
    manifest = write_table(tmp_path / "clips.csv", rows)
    own = {"extractor": str(tmp_path / "own.py"), "source": "text"}
    features = {"many": own, "one": {**own, "side": 1}}
    made = extract(manifest, tmp_path / "made", features=features, jobs=1, progress=False)
    return Config.load(data={"manifest": str(made.manifest)}, method="late", train={"epochs": 1, "device": "cpu"})


def test_what_an_extractor_says_of_its_frames_reaches_training_and_the_run(config: Config, tmp_path: Path) -> None:
    noted = json.loads((tmp_path / "made" / "features.json").read_text())
    assert noted["patches"] == {"many": 3}
    clips = load_clips(config.data, Path())
    assert clips.splits["train"].fit.patches == {"many": 3}
    facts = RunFolder(train(config, tmp_path / "run", measured=False, shown=False)).read(ModelFacts)
    assert facts.patches == {"many": 3}
    assert facts.extract
    assert facts.extract.patches is None, "said once"


def test_tokens_that_are_no_whole_frames_are_refused_by_check_and_training(config: Config) -> None:
    config = Config.load(config, data={"resample": {"many": 4}})
    said = (
        "data.resample.many is 4, and each frame of 'many' is 3 tokens, one per patch; expected whole frames, such as 3"
    )
    assert [problem.message for problem in check(config).problems if problem.kind == "unusable"] == [said]
    with pytest.raises(ValueError, match=said):
        load_clips(config.data, Path())


@pytest.mark.parametrize(
    ("patches", "message"),
    [({"rgb": 0}, "patches.rgb is 0; expected"), ({"rgb": "3"}, "rgb is a text"), ([3], "expected an object")],
)
def test_a_number_of_patches_that_cannot_be_is_refused(tmp_path: Path, patches: object, message: str) -> None:
    (tmp_path / "features.json").write_text(json.dumps({"features": {}, "patches": patches}))
    with pytest.raises(ValueError, match=rf"features\.json.*{message}"):
        patches_in(tmp_path)
