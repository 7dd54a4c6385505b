"""`eval` of a run on pictures gives the scores that training gave, and those of other manifests."""

import shutil

import numpy as np
import pytest

from sparsefuse import rooms
from sparsefuse.config import Config
from sparsefuse.inference.evaluate import evaluate
from sparsefuse.layers.pixels.sizes import Size
from sparsefuse.media.png import write_png
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.records import Result
from sparsefuse.training.train import train

SIZES = {
    "segment": Size((8, 16), (1, 1), (1, 2), (2, 1), ((7, 4), (3, 2)), head_dim=8),
    "translate": Size((8, 16), (1, 1), (1, 2), (2, 1), ((3, 2), (3, 2))),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rooms")
    rooms.generate(folder, scenes=12, size=32, fractions=(0.5, 0.2, 0.3), jobs=1, progress=False)
    return folder


def trained(out, folder, task, **changed):
    config = Config.load(folder / f"{task}.yaml", method="early", options={"all": {"size": SIZES[task]._asdict()}},
                         train={"epochs": 1, "batch_size": 4, "warmup_epochs": 0}, **changed)  # fmt: skip
    return train(config, out, measured=False)


@pytest.mark.parametrize("task", ["segment", "translate"])
def test_scores_are_those_of_training(task, data, tmp_path):
    run = trained(tmp_path / "run", data, task)
    result = RunFolder(run).read(Result)
    found = evaluate(run)
    main = "miou" if task == "segment" else "mae"
    assert found[main] == pytest.approx(result.test[main], abs=1e-6)
    assert found["scenes"] == result.splits["test"]
    everything = evaluate(run, manifest=data / "manifest.csv")
    assert everything["scenes"] == 12
    assert everything[main] != pytest.approx(found[main], abs=1e-6)
    first, *lines = (data / "manifest.csv").read_text().splitlines()
    alone = data / f"{task}-test.csv"
    alone.write_text("\n".join([first, *(line for line in lines if ",test," in line)]))
    assert evaluate(run, manifest=alone)[main] == pytest.approx(found[main], abs=1e-6), "no row need be of training"
    with pytest.raises(ValueError, match="leave --calibrate out"):
        evaluate(run, calibrated=True)


@pytest.mark.slow
def test_depth_is_translated_to_within_the_range_of_training(data, tmp_path):
    run = trained(tmp_path / "run", data, "translate", data={"label": "depth", "modalities": ["rgb"]},
                  pixels={"target": {"kind": "depth", "unit": 0.001}})  # fmt: skip
    near, far = RunFolder(run).read(PixelFacts).depths
    assert 0 < near < far < 20
    found = evaluate(run)
    assert found["mae"] == pytest.approx(RunFolder(run).read(Result).test["mae"], abs=1e-6)
    assert evaluate(run, manifest=data / "manifest.csv")["scenes"] == 12


def test_data_that_changed_is_refused(data, tmp_path):
    copy = tmp_path / "rooms"
    shutil.copytree(data, copy)
    run = trained(tmp_path / "run", copy, "segment")
    write_png(copy / "rgb" / "room_000000.png", np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="is not what it was trained with"):
        evaluate(run)
