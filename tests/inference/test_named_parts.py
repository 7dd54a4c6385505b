"""Rows that name a part of their files by `start` and `end` are predicted from that part, as they are trained."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sparsefuse.classifier import Classifier
from sparsefuse.data.labels import Labels
from sparsefuse.data.lengths import WHOLE
from sparsefuse.features.extract import extract
from sparsefuse.files.rows import read_table
from sparsefuse.files.skipped import Unusable
from sparsefuse.finetune.clips import read_clips
from sparsefuse.inference.clips import _results
from sparsefuse.inference.inputs import named_clips
from sparsefuse.inference.predictor import Predictor
from sparsefuse.inference.timeline import timeline

SPEC = {"extractor": "series", "source": "wrist", "time": "t"}


class Reading(Predictor):
    """Of the extraction alone; there is no model."""

    def __init__(self, **options: Any) -> None:
        model = SimpleNamespace(modalities=("wrist",), features={"wrist": 1})
        super().__init__(model, Labels("class", ("a", "b")), None, {"wrist": {**SPEC, **options}}, WHOLE)  # type: ignore

    def values(self, clip: Any) -> list[float]:
        return self.features(clip)[0]["wrist"][:, 0].tolist()


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    """A reading a second for ten, each the second."""
    path = tmp_path / "a.csv"
    path.write_text("t,x\n" + "".join(f"{i},{i}\n" for i in range(10)))
    return path


def manifest_of(walk: Path) -> Path:
    path = walk.parent / "m.csv"
    path.write_text("id,wrist,start,end,label\nhead,a.csv,,3,a\nmiddle,a.csv,3,6,b\ntail,a.csv,8,,b\nall,a.csv,,,a\n")
    return path


PARTS = {"head": [0, 1, 2], "middle": [3, 4, 5], "tail": [8, 9], "all": list(range(10))}


def test_each_row_is_read_from_its_part_as_extraction_does(walk: Path) -> None:
    manifest, predictor = manifest_of(walk), Reading()
    assert {name: predictor.values(clip) for name, clip in named_clips([manifest], predictor)} == PARTS
    made = extract(manifest, walk.parent / "features", features={"wrist": SPEC}, jobs=1, progress=False).manifest
    stored = {name: predictor.values(clip) for name, clip in named_clips([made], Reading(source="film"))}
    assert stored == PARTS  # features are of the part already


def test_cells_of_seconds_are_no_files(walk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --offline files must lie in the manifest's folder; an empty cell is the current one, as a path."""
    predictor = Reading()
    monkeypatch.setattr(predictor, "predict_one", predictor.values)
    found = list(_results(predictor, [manifest_of(walk)], None, roots=[], out=None))
    assert found == list(PARTS.items())


def test_a_stream_that_reads_whole_files_does_so(walk: Path) -> None:
    predictor = Reading(whole=True)
    assert predictor.values({"wrist": walk, "start": 3, "end": 6}) == PARTS["all"]


def test_words_are_of_the_part_already(tmp_path: Path) -> None:
    """`Classifier` writes sentences of a table to files, and a .txt has no times to take a part of it by."""
    predictor = Reading()
    predictor.extract = {"wrist": {"extractor": "text", "source": "said", "hashed": 8}}
    predictor.model.features = {"wrist": 8}
    (tmp_path / "a.txt").write_text("good day to you")
    clip = {"said": tmp_path / "a.txt", "start": 3, "end": 6}
    assert predictor.values(clip) == predictor.values({"said": "good day to you"})


def test_lines_of_standard_input_may_name_parts(walk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps({"wrist": str(walk), "start": 3, "end": 6.0})
    monkeypatch.setattr("sys.stdin", io.StringIO(line + "\n"))
    ((_, clip),) = named_clips([Path("-")], Reading())
    assert Reading().values(clip) == [3, 4, 5]


def test_clips_of_a_user_are_adapted_to_by_their_parts(walk: Path) -> None:
    predictor = Reading()
    found = read_clips(predictor, manifest_of(walk), predictor.labels)
    assert {sample.id: sample.features["wrist"][:, 0].tolist() for sample in found.samples} == PARTS


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"start": "0:03"}, "start is '0:03', expected seconds since the film's beginning"),
        ({"start": 6, "end": 3}, "start is 6, end is 3; expected start < end"),
        ({"end": float("inf")}, "end is inf, expected seconds"),
        ({"start": [1]}, r"start is \[1\], expected seconds"),
    ],
)
def test_what_is_no_part_makes_the_clip_unusable(walk: Path, part: dict[str, Any], said: str) -> None:
    with pytest.raises(Unusable, match=said):
        Reading().tokens({"wrist": walk, **part})


def test_a_part_of_what_is_not_extracted_is_an_unknown_name() -> None:
    predictor = Reading()
    predictor.extract = {}
    with pytest.raises(ValueError, match="unknown modality 'start'"):
        predictor.features({"wrist": torch.zeros(2, 1), "start": 3})


def test_a_part_is_not_cut_into_windows(walk: Path) -> None:
    with pytest.raises(Unusable, match="part of a recording, from 3 s to its end"):
        timeline(Reading(), {"wrist": walk, "start": 3}, window=1, hop=1)


def test_an_extractor_that_reads_no_parts_says_so(walk: Path) -> None:
    code = walk.parent / "own.py"
    code.write_text("import numpy as np\nSOURCE = 'wrist'\ndef extract(path): return np.ones((2, 1), 'f')\n")
    predictor = Reading()
    predictor.extract = {"wrist": {"extractor": str(code), "source": "wrist"}}
    assert predictor.values({"wrist": walk}) == [1, 1]
    with pytest.raises(Unusable, match=r"a\.csv: the extractor 'own' cannot read a part of a file"):
        predictor.tokens({"wrist": walk, "start": 3})


@pytest.mark.slow
def test_a_classifier_predicts_parts_of_one_file(tmp_path: Path) -> None:
    """Of every recording the first half is low and the second high, so that whole files are all alike."""
    rng, rows = np.random.default_rng(0), []
    for clip in range(12):
        values = np.r_[np.zeros(8), np.full(8, 4.0)] + rng.normal(size=16) / 10
        path = tmp_path / f"{clip}.csv"
        path.write_text("t,x\n" + "".join(f"{i},{x}\n" for i, x in enumerate(values)))
        rows += [
            {"wrist": path, "start": None, "end": 8.0, "group": str(clip), "label": "low"},
            {"wrist": path, "start": 8.0, "end": None, "group": str(clip), "label": "high"},
        ]
    table = pd.DataFrame(rows)
    clf = Classifier("concat", dim=10, num_heads=2, fusion_depth=1, epochs=6, lr=0.02, batch_size=8, mixup_alpha=0.0,
                     device="cpu", features={"wrist": SPEC}).fit(table)  # fmt: skip
    assert clf.predict(table).tolist() == table["label"].tolist()
    assert clf.score(table) == 1
    assert clf.predict(table.iloc[3]).tolist() == ["high"]
    manifest = tmp_path / "m.csv"
    table.to_csv(manifest, index=False)
    assert read_table(manifest).rows[0]["start"] == ""
    assert clf.predict(manifest).tolist() == table["label"].tolist()
