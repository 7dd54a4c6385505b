"""A whole study on tiny clips: what runs, what is shared, and what the page says of it.

All its runs are planned and built; trained are those of two of the methods.
"""

import dataclasses
import json
from pathlib import Path

import pytest

import tiny
from sparsefuse.config import Config, Study
from sparsefuse.data.clips import load_clips
from sparsefuse.experiments import grid
from sparsefuse.methods import fusions
from sparsefuse.study import conduct, plan, robustness
from sparsefuse.study.results import Results
from sparsefuse.training.train import new_model

SPEC = Study(seeds=[0, 1], t1_seeds=[0, 1], experiments=["t1", "t2", "t3", "t4", "t5", "f2", "robustness"])
TRAINED = ["t1", "t5", "robustness"]


def config_of(folder: Path, **study) -> Config:
    config = tiny.config(tiny.write_set(folder / "data", (9, 4, 4)), epochs=1, batch_size=9, mixup_alpha=0.3)
    return dataclasses.replace(config, study=dataclasses.replace(SPEC, **study))


def conduct_small(folder: Path) -> list[str]:
    """The experiments of `TRAINED` with SFT and concat, degraded in one degree of each kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "measure_runs", lambda *_: None)  # seconds a variant, and tested elsewhere
        patch.setattr(plan, "fusions", lambda: ("concat", "sft"))
        patch.setattr(robustness, "LEVELS", {kind: levels[:1] for kind, levels in robustness.LEVELS.items()})
        return conduct.study(config_of(folder, experiments=TRAINED), folder / "study", jobs=1).failed


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    assert conduct_small(folder) == []
    return folder / "study"


def test_every_experiment_has_its_runs_and_shares_what_is_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells: list[grid.Cell] = []
    monkeypatch.setattr("sparsefuse.study.conduct.run", lambda found, **_: cells.extend(found) or [])
    monkeypatch.setattr(robustness, "measure", lambda *_, **__: None)
    config = config_of(tmp_path)
    assert conduct.study(config, tmp_path / "study", jobs=1).failed == []
    methods = [*fusions(), "mbt-mixup", "unimodal-rgb", "unimodal-sound"]
    factors = [1, 2, 4, 8]  # the longest stream has 6 tokens
    variants = [*methods, "sft-pool-max", "sft-pool-attn", "sft-no-mixup", "concat-factor-64", "late-factor-64"]
    variants += [f"{curve}-factor-{f}" for curve in ("sft", "sft-po") for f in factors] + ["sft-factor-64"]
    variants += [f"unimodal-{m}-factor-{f}" for m in ("rgb", "sound") for f in factors[1:]]
    folders = [cell.folder for cell in cells]
    assert sorted(folders) == sorted(tmp_path / f"study/runs/{name}-seed{seed}" for name in variants for seed in (0, 1))
    clips = load_clips(config.data, Path())
    for cell in cells:
        new_model(cell.config, clips)


@pytest.mark.slow
def test_runs_of_a_study_are_trained_once(study: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (study / "runs").glob("*/*")}
    names = ["concat", "mbt-mixup", "sft", "sft-no-mixup", "unimodal-rgb", "unimodal-sound"]
    finished = [path.parent.name for path in before if path.name == "result.json"]
    assert sorted(finished) == sorted(f"{name}-seed{seed}" for name in names for seed in (0, 1))
    assert conduct_small(study.parent) == []
    assert {path: path.stat().st_mtime_ns for path in (study / "runs").glob("*/*")} == before


@pytest.mark.slow
def test_robustness_is_measured_modality_by_modality(study: Path) -> None:
    found = json.loads((study / "runs/sft-seed0/robustness.json").read_text())
    assert {(p["modality"], p["kind"]) for p in found} == {
        (m, kind) for m in ("rgb", "sound") for kind in robustness.LEVELS
    }
    clean = json.loads((study / "runs/sft-seed0/result.json").read_text())["test"]["top1"]
    assert all(p["top1"] == clean for p in found if p["level"] == 0)
    alone = json.loads((study / "runs/unimodal-rgb-seed0/robustness.json").read_text())
    assert {(p["modality"], p["kind"]) for p in alone} == {("rgb", "noise"), ("rgb", "dropped")}


@pytest.mark.slow
def test_hits_are_what_the_predictions_say(study: Path) -> None:
    hits = Results(study).hits("sft", "concat")
    for name, found in hits.items():
        for seed in (0, 1):
            lines = (study / "runs" / f"{name}-seed{seed}/predictions.csv").read_text().splitlines()[1:]
            right = {line.split(",")[0]: line.split(",")[1] == line.split(",")[2] for line in lines}
            assert found[seed].tolist() == [right[clip] for clip in sorted(right)]
            result = json.loads((study / "runs" / f"{name}-seed{seed}/result.json").read_text())
            assert found[seed].mean() == pytest.approx(result["test"]["top1"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiments": ["t1", "t9"]}, "unknown experiment 't9'; did you mean 't"),
        ({"seeds": [3]}, r"study.seeds is \[3\]; a deviation needs two different seeds"),
        ({"t1_seeds": [1, 1]}, r"study.t1_seeds is \[1, 1\]"),
    ],
)
def test_wrong_settings_are_errors_before_anything_runs(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conduct.study(config_of(tmp_path, **change), tmp_path / "out", jobs=1)
    assert not (tmp_path / "out").exists()


def test_a_class_without_training_clips_is_an_error_and_one_untested_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from sparsefuse.study.conduct import check_classes

    config = config_of(tmp_path)
    manifest = Path(config.data.manifest)
    tiny.edit(manifest, test0={"label": "z"})
    with pytest.raises(ValueError, match="class 'z' has no training clip"):
        check_classes(config.data, Path())
    tiny.edit(manifest, test0={"label": "a"}, train0={"label": "z"})
    check_classes(config.data, Path())
    assert [record.message.split(":")[0] for record in caplog.records if record.levelname == "WARNING"] == [
        "class 'z' has no clip in the valid split",
        "class 'z' has no clip in the test split",
    ]


def test_mixup_off_leaves_nothing_to_compare(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, mixup_alpha=0.0))
    with pytest.raises(ValueError, match=r"train\.mixup_alpha is 0"):
        conduct.study(config, tmp_path / "out", jobs=1)
