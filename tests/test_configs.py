"""Every shipped configuration loads and trains an epoch on small clips of its modalities."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

import tiny
from sparsefuse.checks import check_config
from sparsefuse.config import Config
from sparsefuse.experiments.grid import grid
from sparsefuse.experiments.variants import Variant
from sparsefuse.files.whole import read_json
from sparsefuse.methods import build
from sparsefuse.training.train import train

FOLDER = Path(__file__).parent.parent / "configs"
CONFIGS = sorted(FOLDER.rglob("*.yaml"))
MODALITIES = {"utd-mhad": ("depth", "inertial", "skeleton"), "grid-color": ("picture", "sound")}
MODALITIES |= {"grid-digit": ("picture", "sound"), "av-digits": ("image", "sound"), "known": ("left", "right")}
MODALITIES["utd-mhad-small"] = MODALITIES["utd-mhad"]
MODALITIES |= dict.fromkeys(("utd-mhad-student", "utd-mhad-stems"), MODALITIES["utd-mhad"])
MODALITIES["grid-color-stems"] = MODALITIES["grid-color"]
MODALITIES["utd-mhad-inertial"] = ("accelerometer", "gyroscope")
MODALITIES["utd-mhad-four"] = ("accelerometer", "depth", "gyroscope", "skeleton")


def name_of(path: Path) -> str:
    return str(path.relative_to(FOLDER))


def load(path: Path) -> Config:
    return parsed(path.read_text())


def parsed(text: str) -> Config:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Config, None)
    return Config(**vars(parser.instantiate(parser.parse_object(yaml.safe_load(text)))))


def write_clips(folder: Path, label: str, modalities: dict[str, int]) -> None:
    """Eight clips of each of six groups, two classes, of so many features by modality."""
    rng = np.random.default_rng(0)
    lines = [",".join(["id", *modalities, label, "group"])]
    for i in range(48):
        for name, width in modalities.items():
            np.save(folder / f"{name}{i}.npy", rng.normal(size=(rng.integers(3, 9), width)).astype(np.float32))
        lines.append(",".join([f"s{i}", *(f"{name}{i}.npy" for name in modalities), f"c{i % 2}", str(1 + i // 8)]))
    (folder / "manifest.csv").write_text("\n".join(lines))


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_config_trains(path, tmp_path):
    config = load(path)
    pictures = {name: shape.height * shape.width * shape.channels for name, shape in config.data.pictures.items()}
    modalities = dict.fromkeys(MODALITIES[path.stem], 4) | pictures
    assert set(config.features) | set(pictures) <= set(MODALITIES[path.stem])
    write_clips(tmp_path, config.data.label, modalities)
    data = dataclasses.replace(config.data, manifest="manifest.csv")
    config = dataclasses.replace(config, data=data, train=dataclasses.replace(config.train, epochs=1))
    cell = grid(config, [Variant("sft", "sft")], [0], tmp_path / "runs", root=tmp_path)[0]
    train(cell.config, cell.folder, root=tmp_path, measured=False)
    result = read_json(cell.folder / "result.json")
    assert result["splits"]["test"] > 0
    assert result["method"] == "sft"
    assert len(tiny.epochs(cell.folder)) == 1


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_config_says_its_command_time_and_result(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    text = "\n".join(header)
    verb = "study" if path.parent.name == "study" else "compare"
    assert f"sparsefuse {verb} configs/{name_of(path)}" in text
    assert "Takes about" in text
    assert "results/" in text


def test_the_mbt_of_the_docs_has_the_papers_tokens_and_size():
    """1568 tubelets of 16 frames, 400 patches of 8 s of spectrogram, and two ViT-B of 86 million weights."""
    page = FOLDER.parent / "docs" / "mbt.md"
    text = page.read_text().split("```yaml\n")[1].split("```")[0]
    config = parsed(text)
    check_config(config)
    with torch.device("meta"):
        model = build(
            "mbt", {"rgb": 224 * 224 * 3, "spectrogram": 128}, 309,
            lengths={"rgb": 16, "spectrogram": 800}, **config.options["mbt"],
        )  # fmt: skip
    assert [len(table) - 1 for table in model.embed.position] == [1568, 400]
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(2 * 86e6, rel=0.01)
