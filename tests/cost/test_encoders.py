"""What packaged encoders cost, against PyTorch's own counter, and where it is said."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import tiny
from sparsefuse.cost.encoders import encoders_gmacs
from sparsefuse.features._efficientnet import EfficientNetLite0
from sparsefuse.features._sound_effects import SoundEffectsNet
from sparsefuse.files.whole import write_json
from sparsefuse.inference.ensemble import ensemble
from sparsefuse.report.page import read_runs, runs_table, summarise
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result
from sparsefuse.sharing.card import card
from sparsefuse.training.train import train

PICTURES = {"extractor": "encoder", "source": "video", "model": "efficientnet-lite0", "output": None}
SOUND = {"extractor": "encoder", "source": "video", "model": "aisfx"}
WORDS = {"extractor": "text", "source": "text", "model": "all-minilm-l6-v2"}


def flops(net: torch.nn.Module, x: torch.Tensor) -> float:
    """GMACs by PyTorch, which counts a multiply-add as two."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.eval()(x)
    return counter.get_total_flops() / 2e9


def gmacs(spec: dict[str, object], tokens: int) -> float:
    return encoders_gmacs({"stream": spec}, {"stream": tokens})["stream"]


def test_a_picture_costs_what_pytorch_counts() -> None:
    one = flops(EfficientNetLite0(), torch.zeros(1, 3, 224, 224))
    assert gmacs(PICTURES, 40) == pytest.approx(40 * one, rel=1e-12)
    assert gmacs({**PICTURES, "output": "token"}, 2 * 49) == pytest.approx(2 * one, rel=1e-12)


def test_sound_costs_by_the_piece() -> None:
    one = flops(SoundEffectsNet(), torch.zeros(1, 100, 96))
    assert gmacs(SOUND, 24) == pytest.approx(2 * one, rel=1e-12)
    assert gmacs(SOUND, 25) == pytest.approx(3 * one, rel=1e-12)  # the last piece is mostly silence
    assert gmacs({**SOUND, "output": "clip"}, 5) == pytest.approx(5 * one, rel=1e-12)
    assert gmacs({**SOUND, "seconds": 1.0}, 18) == pytest.approx(3 * one, rel=1e-12)  # 12 x 1 / 2.32, rounded up: 6


@pytest.mark.slow
def test_a_text_costs_what_pytorch_counts() -> None:
    transformers = pytest.importorskip("transformers")
    shape = {"num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12}
    net = transformers.BertModel(transformers.BertConfig(**shape, attn_implementation="eager"))
    one, longest = (flops(net, torch.zeros(1, length, dtype=torch.long)) for length in (12, 512))
    assert gmacs(WORDS, 10) == pytest.approx(one, rel=1e-12)  # CLS and SEP are no tokens
    assert gmacs(WORDS, 520) == pytest.approx(longest + one, rel=1e-12)  # two pieces


def test_what_is_not_of_a_package_is_not_counted() -> None:
    specs = {"a": {"extractor": "frames"}, "b": {"extractor": "encoder", "model": "org/vit"}, "c": PICTURES}
    assert encoders_gmacs(specs, {"a": 5, "b": 5}) == {}
    assert encoders_gmacs({"words": {**WORDS, "extractor": "encoder", "output": "clip"}}, {"words": 1}) == {}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A method on both modalities, whose pictures an encoder made, resampled; and sound alone; and both as one."""
    folder = tmp_path_factory.mktemp("encoded")
    manifest = tiny.write_set(folder / "data")
    write_json(manifest.parent / "features.json", {"features": {"rgb": PICTURES}, "versions": {}})
    config = tiny.with_data(tiny.config(manifest, "late"), resample={"rgb": 2})
    train(config, folder / "runs/both", measured=False, shown=False)
    alone = tiny.with_data(tiny.config(manifest, "unimodal"), modalities=["sound"])
    train(alone, folder / "runs/sound", measured=False, shown=False)
    return folder


def test_a_run_says_what_its_files_cost_and_not_what_reaches_the_model(runs: Path) -> None:
    files = (runs / "data/features").glob("train*-rgb.npy")
    lengths = sorted(len(np.load(path)) for path in files)  # eight
    cost = RunFolder(runs / "runs/both").read(Result).cost
    picture = flops(EfficientNetLite0(), torch.zeros(1, 3, 224, 224))
    assert cost.lengths["rgb"] == 2
    assert cost.features_gmacs == {"rgb": pytest.approx(round(sum(lengths[3:5]) / 2) * picture)}
    assert RunFolder(runs / "runs/sound").read(Result).cost.features_gmacs == {}


def test_an_ensemble_encodes_what_its_members_share_once(runs: Path) -> None:
    ensemble([runs / "runs/both", runs / "runs/sound"], runs / "joined", measured=False)
    assert costs(runs / "joined") == costs(runs / "runs/both")


def test_table_and_card_show_it_beside_the_model_s_own(runs: Path) -> None:
    (gmacs,) = costs(runs / "runs/both").values()
    table = runs_table(summarise(read_runs(runs / "runs")))
    place = table.head.index("Features GMACs")
    assert {row[0]: row[place] for row in table.lines} == {"late": f"{gmacs:.2f}", "unimodal": "\N{EN DASH}"}
    text = card(runs / "runs/both", title="t", source="s", license=None, data=None)
    assert f"| plus the encoder that makes rgb | {gmacs:.4g} GMACs |" in text


def costs(run: Path) -> Mapping[str, float]:
    return RunFolder(run).read(Result).cost.features_gmacs
