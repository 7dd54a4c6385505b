"""Which stem is proposed for which stream."""

import json
from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console

from sparsefuse.config import Data
from sparsefuse.data.check import check, show
from sparsefuse.data.stems import made_by, stems_for
from sparsefuse.features import resolve
from sparsefuse.layers.stem import stems
from sparsefuse.report.check_page import write_page
from sparsefuse.tokens import Tokens


def test_long_readings_get_windows_of_six_tenths_of_a_second():
    made = {"wrist": {"extractor": "series", "rate": 50.0}}
    (wrist,) = stems_for({"wrist": 500}, {"wrist": 3}, made).values()
    assert wrist.stem == {"kind": "patch", "tokens": 30, "hop": 15}
    assert wrist.tokens == 34  # ceil(500 / 15)
    assert "0.6 s" in wrist.why


def test_without_a_rate_windows_leave_about_64_tokens():
    wrist = stems_for({"wrist": 1000}, {"wrist": 3})["wrist"]
    assert wrist.stem == {"kind": "patch", "tokens": 32, "hop": 16}
    assert wrist.tokens == 63


@pytest.mark.parametrize(("length", "features"), [(15, 3), (15, 200), (500, 1024)])
def test_short_streams_and_wide_tokens_stay_as_they_are(length, features):
    assert stems_for({"a": length}, {"a": features})["a"].stem == {}
    assert stems_for({"a": length}, {"a": features})["a"].tokens == length


@pytest.mark.parametrize(
    ("length", "features", "stride", "tokens"),
    [(16, 3, 1, 16), (64, 32, 1, 64), (48, 6, 1, 48), (256, 60, 1, 256), (257, 256, 2, 65)],  # ceil(ceil(257 / 2) / 2)
)
def test_others_get_convolutions_over_time(length, features, stride, tokens):
    proposal = stems_for({"a": length}, {"a": features})["a"]
    assert proposal.stem == {"kind": "conv", "filters": 64, "stride": stride}
    assert proposal.tokens == tokens
    assert stems({"a": proposal.stem}, {"a": features})["a"].length(length) == tokens


@pytest.mark.parametrize("length", [65, 130, 500, 7000])
def test_a_proposed_stem_makes_the_tokens_that_it_says(length):
    proposal = stems_for({"a": length}, {"a": 6})["a"]
    (stem,) = stems({"a": proposal.stem}, {"a": 6}).values()
    out = stem(Tokens(torch.zeros(1, length, 6), torch.ones(1, length, dtype=torch.bool)))
    assert out.x.shape[1] == proposal.tokens


@pytest.mark.parametrize(
    ("extractor", "options", "features", "convolved"),
    [
        ("frames", {"size": [14, 20], "difference": True}, 560, True),
        ("frames", {"patch": 8}, 64, False),  # a token is a piece of a frame
        ("spectrogram", {"bins": 64, "context": 4}, 576, True),  # its own window is not one of readings
        ("flow", {}, 200, True),
        ("series", {"rate": 10.0}, 48, True),
        ("series", {"rate": 50.0, "window": 0.6}, 30, False),
        ("text", {}, 64, False),
        ("encoder", {"model": "efficientnet-lite0"}, 1280, False),
    ],
)
def test_moments_that_an_extractor_made_get_convolutions(extractor, options, features, convolved):
    made = {"a": {"extractor": extractor, "source": "video", **resolve(extractor, options)}}
    proposal = stems_for({"a": 75}, {"a": features}, json.loads(json.dumps(made)))["a"]
    assert proposal.stem == ({"kind": "conv", "filters": 64, "stride": 1} if convolved else {})
    assert proposal.tokens == 75


def test_check_prints_a_proposal(tmp_path):
    """500 readings of 3 columns, as extracted at 50 a second."""
    for i in range(6):
        np.save(tmp_path / f"{i}.npy", np.random.default_rng(i).normal(size=(500, 3)).astype(np.float32))
    rows = [f"{i},{i}.npy,{'ab'[i % 2]},{split}" for i, split in enumerate(["train"] * 4 + ["valid", "test"])]
    (tmp_path / "manifest.csv").write_text("\n".join(["id,wrist,label,split", *rows]))
    (tmp_path / "features.json").write_text(json.dumps({"features": {"wrist": {"extractor": "series", "rate": 50}}}))
    report = check(Data(manifest="manifest.csv"), tmp_path, jobs=1)
    assert report.stems["wrist"].stem == {"kind": "patch", "tokens": 30, "hop": 15}
    console = Console(record=True, width=160, file=StringIO())
    show(report, console)
    text = console.export_text()
    assert "{kind: patch, tokens: 30, hop: 15}" in text
    assert report.to_json()["stems"]["wrist"]["tokens"] == 34
    assert "{kind: patch, tokens: 30, hop: 15}" in write_page(report, tmp_path / "data.html").read_text()


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), ("[]", "has no features")])
def test_a_wrong_features_json_is_named(tmp_path, text, message):
    (tmp_path / "features.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        made_by(tmp_path)
