"""The pictures of a report show what runs say of test scenes, and where they err."""

import base64
import io
import re
from dataclasses import replace

import av
import numpy as np
import pytest
import torch

from pixel_runs import SIZE, run_of
from sparsefuse import rooms
from sparsefuse.config import Config
from sparsefuse.data.pixels.load import load_scenes
from sparsefuse.inference.pixels.predictor import PixelPredictor
from sparsefuse.methods import pixels
from sparsefuse.report.page import render, write_report
from sparsefuse.report.pixels.answers import shown_scenes
from sparsefuse.report.pixels.palette import palette
from sparsefuse.report.pixels.section import SCENES, WRONG, section
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.training.train import train


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rooms")
    rooms.generate(folder, scenes=12, size=32, fractions=(0.4, 0.2, 0.4), jobs=1, progress=False)
    return folder


def run(folder, data, task, method, name=None):
    """As trained on the data, with the weights that it began with."""
    config = Config.load(data / f"{task}.yaml")
    scenes = load_scenes(config)
    facts = PixelFacts(
        task=task, name=name or method, method=method, options={"size": SIZE[task]._asdict()}, streams=scenes.streams,
        channels=scenes.channels, classes=scenes.classes, outputs=scenes.outputs, target=scenes.target, ignore=255,
        size=scenes.size, height=0, width=0, clips=scenes.fingerprints,
    )  # fmt: skip
    torch.manual_seed(0)
    model = pixels.build(method, dict(facts.channels), facts.outputs, task=task, **facts.options)
    run_of(folder, PixelPredictor(model, facts, dict(scenes.stats)))
    RunFolder(folder).write_located(config)
    return RunFolder(folder)


def pixels_of(cell):
    with av.open(io.BytesIO(base64.b64decode(cell.src.partition(",")[2]))) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def test_a_row_per_method_says_what_it_sees_and_where_it_errs(data, tmp_path):
    runs = {name: run(tmp_path / name, data, "segment", name) for name in ("tokenfusion", "unimodal")}
    found = section(runs)
    assert len(found.scenes) == SCENES
    id, (given, fusion, single) = found.scenes[0]
    assert [cell.title for cell in given.cells] == ["depth", "rgb", "true classes"]
    assert [cell.title for cell in fusion.cells] == ["says", "errs", "exchanged in depth", "exchanged in rgb"]
    assert [cell.title for cell in single.cells] == ["says", "errs"]
    truth, said, errs = (pixels_of(cell) for cell in (given.cells[2], single.cells[0], single.cells[1]))
    wrong = (errs == WRONG).all(2)
    np.testing.assert_array_equal(wrong, (truth != said).any(2))
    assert single.cells[1].note == f"{100 * wrong.mean():.1f} %"
    assert id
    colors = {one.name: one.color for one in found.legend}
    classes = runs["unimodal"].read(PixelFacts).classes
    there = {tuple(color) for color in truth.reshape(-1, 3).tolist()}
    expected = {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in there & set(palette(len(classes)))}
    assert expected <= set(colors.values())
    page = render("report/pixels/pictures.html.j2", pictures=found, split="test")
    assert page.count("<img") == SCENES * (3 + 4 + 2)


def test_a_translation_has_its_target_and_its_error(data, tmp_path):
    found = section({"early": run(tmp_path / "early", data, "translate", "early")})
    _, (given, said) = found.scenes[0]
    assert given.cells[-1].title == "target"
    assert [cell.title for cell in said.cells] == ["says", "errs"]
    made, target = (pixels_of(cell).astype(float) / 255 for cell in (said.cells[0], given.cells[-1]))
    assert float(said.cells[1].note) == pytest.approx(2 * np.abs(made - target).mean(), abs=0.02)


def test_shares_exchanged_are_those_of_the_layers(data, tmp_path):
    folder = run(tmp_path / "run", data, "segment", "tokenfusion")
    (scene,) = shown_scenes({"tokenfusion": folder}, 1)
    for share in scene.answers["tokenfusion"].exchanged.values():
        assert share.shape == (32, 32)
        assert set(np.unique(share)) <= {0.0, 0.5, 1.0}  # two layers


def test_without_the_data_there_are_no_pictures(data, tmp_path):
    folder = run(tmp_path / "run", data, "segment", "unimodal")
    config = folder.read(Config)
    folder.write(replace(config, data=replace(config.data, manifest=str(tmp_path / "none.csv"))))
    assert section({"unimodal": folder}) is None
    assert section({}) is None


def test_runs_of_other_scenes_are_left_out(data, tmp_path):
    one, other = (run(tmp_path / name, data, "segment", "unimodal") for name in ("one", "other"))
    other.write(replace(other.read(PixelFacts), clips={}))
    assert list(shown_scenes({"one": one, "other": other}, 1)[0].answers) == ["one"]


@pytest.mark.slow
def test_a_report_of_trained_runs_is_one_page_with_all_of_it(data, tmp_path):
    for method in ("tokenfusion", "unimodal"):
        config = Config.load(data / "segment.yaml", method=method, options={"all": {"size": SIZE["segment"]._asdict()}},
                             train={"epochs": 1, "batch_size": 4, "warmup_epochs": 0})  # fmt: skip
        train(config, tmp_path / "runs" / method, measured=False)
    page = write_report(tmp_path / "runs").read_text()
    assert page.count("<img") == 4 * (3 + 4 + 2)
    assert "IoU on the test split" in page
    assert "depth@1.1" in page
    assert "Test pixels of each true class" in page
    assert "scenes) chose the checkpoint" in page
    assert not re.search(r"\bclips?\b", re.sub(r"<(style|script|pre).*?</\1>|<[^>]+>", "", page, flags=re.S))
