"""A folder from elsewhere: what is no run is left, what is hostile is refused in a line, and nothing of it is run."""

import json
import os
import pickle
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from shared_run import edit_json, trained, write_classifier

import tiny
from sparsefuse.files import checkpoint
from sparsefuse.runs import weights
from sparsefuse.sharing import parcel, pull, push


class Bomb:
    """A pickle that leaves a trace when it is opened."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.trace),))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pull")
    push(trained(folder), str(folder / "shared"), with_replay=True)
    return folder / "shared"


@pytest.fixture
def shared(clean: Path, tmp_path: Path) -> Path:
    """A shared run to spoil."""
    return shutil.copytree(clean, tmp_path / "shared")


def refused(shared: Path, tmp_path: Path, said: str) -> None:
    """Pulling fails with `said`, quickly, and leaves nothing."""
    begin = time.monotonic()
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        pull(str(shared), tmp_path / "got")
    assert time.monotonic() - begin < 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shared"]


def test_pickles_and_code_are_left_and_named(shared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trace = tmp_path / "opened"
    for name in ("pytorch_model.bin", "model.pt", "last.pkl"):
        (shared / name).write_bytes(pickle.dumps(Bomb(trace)))
    (shared / "sft.py").write_text(f"import os; os.mkdir({str(trace)!r})")
    got = pull(str(shared), tmp_path / "got")
    assert {path.name for path in got.iterdir()} <= parcel.LIMITS.keys()
    assert not trace.exists()
    for name in ("pytorch_model.bin", "model.pt", "last.pkl", "sft.py"):
        assert f"not a file of a run: '{name}'" in caplog.text


def test_a_pickle_in_place_of_the_weights_is_not_opened(shared: Path, tmp_path: Path) -> None:
    (shared / "model.safetensors").write_bytes(pickle.dumps(Bomb(tmp_path / "opened")))
    refused(shared, tmp_path, "model.safetensors is not a complete safetensors file")


DEEP: Any = 1
for _ in range(20):
    DEEP = [DEEP]

HOSTILE = {
    "method is a file": ({"method": "../evil.py"}, r"method is the code '.*evil.py'"),
    "method is a file in capitals": ({"method": "/x/EVIL.PY"}, "method is the code"),
    "method is a module": ({"method": "os"}, "unknown method 'os'"),
    "method is no text": ({"method": ["sft"]}, "method is a list; expected a text"),
    "extractor is a file": ({"extract": {"features": {"rgb": {"extractor": "evil.py"}}}}, r"is the code 'evil.py'"),
    "extractor is unknown": ({"extract": {"features": {"rgb": {"extractor": "os"}}}}, "extractor 'os'"),
    "extractor option": (
        {"extract": {"features": {"rgb": {"extractor": "spectrogram", "no_such": 1}}}},
        "unknown option of extractor 'spectrogram': 'no_such'",
    ),
    "extractor option is huge": (
        {"extract": {"features": {"rgb": {"extractor": "spectrogram", "mels": 10**12}}}},
        r"rgb.mels is 1e\+12",
    ),
    "width": ({"options": {"dim": 10**9}}, r"options.dim is 1e\+09; expected 65,536 at most"),
    "width that is allowed": ({"options": {"dim": 65_000, "num_heads": 2}}, "does not hold the model"),
    "depth": ({"options": {"fusion_depth": 60_000}}, "more weights than model.safetensors"),
    "unknown option": ({"options": {"dims": 10}}, "unknown option of sft 'dims'"),
    "option of another kind": ({"options": {"dim": "wide"}}, "does not describe a model that can be built"),
    "option is infinite": ({"options": {"drop": float("inf")}}, "options.drop is inf; expected a finite number"),
    "options are deep": ({"options": {"keep": DEEP}}, "nested more than"),
    "features": ({"features": {"rgb": 10**9, "sound": 4}}, r"features.rgb is 1000000000; expected a whole number"),
    "features are negative": ({"features": {"rgb": -1, "sound": 4}}, "features.rgb is -1"),
    "features are none": ({"features": {}}, "names 0 modalities"),
    "features lack one": ({"features": {"rgb": 5}}, "expected the same"),
    "lengths": ({"lengths": {"rgb": 10**9, "sound": 6}}, "lengths.rgb is 1000000000"),
    "resample": ({"resample": {"rgb": 10**9}}, "resample.rgb is 1000000000"),
    "max_length": ({"max_length": -5}, "max_length is -5"),
    "windows": ({"windows": 10**9}, "windows is 1000000000"),
    "normalised": ({"normalised": "yes"}, "normalised is a text; expected true or false"),
    "task": ({"labels": {"task": "clas", "classes": ["a", "b", "c"]}}, "unknown task 'clas'; did you mean 'class'"),
    "classes": ({"labels": {"task": "class", "classes": "abc"}}, "labels.classes is a text; expected a list"),
    "other classes": ({"labels": {"task": "class", "classes": ["a", "b"]}}, r"bias has shape \(3,\), expected \(2,\)"),
    "class twice": ({"labels": {"task": "class", "classes": ["a", "b", "a"]}}, "names a class twice"),
    "heads": (
        {"labels": {"task": "heads", "classes": ["a", "b", "c"], "heads": {"x": 10**9}}},
        "heads.x is 1000000000",
    ),
    "no labels": ({"labels": None}, "labels is null; expected an object"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), HOSTILE.values(), ids=HOSTILE)
def test_what_model_json_may_not_say_is_refused(
    shared: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    def spoil(facts: dict[str, Any]) -> None:
        options = {**facts["options"], **change.get("options", {})}
        facts.update({**change, "options": options})

    edit_json(shared / "model.json", spoil)
    refused(shared, tmp_path, said)


TEXT = {"extractor": "text", "source": "said", "table": "/home/me/vectors.txt"}
SOUND = {"extractor": "spectrogram", "source": "audio"}


@pytest.mark.parametrize(("trust", "kept"), [(False, {"sound": SOUND}), (True, {"rgb": TEXT, "sound": SOUND})])
def test_an_extractor_that_names_a_file_is_kept_only_if_agreed(
    shared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, trust: bool, kept: dict[str, Any]
) -> None:
    made = {"features": {"rgb": TEXT, "sound": SOUND}}
    edit_json(shared / "model.json", lambda facts: facts.update(extract=made))
    got = pull(str(shared), tmp_path / "got", trust_models=trust)
    assert json.loads((got / "model.json").read_text())["extract"]["features"] == kept
    said = "left out: the extractor of 'rgb', which reads table='/home/me/vectors.txt'" in caplog.text
    assert said is not trust


def test_config_json_of_a_stranger_names_no_folder_and_no_model(shared: Path, tmp_path: Path) -> None:
    def spoil(config: dict[str, Any]) -> None:
        config["data"].update(manifest="/etc/passwd.csv", classes={"label": "../../x.csv"})
        config["features"] = {"rgb": {"extractor": "encoder", "model": "evil/model"}}
        config["train"]["pretrained"] = "/home/me/vit"

    edit_json(shared / "config.json", spoil)
    config = json.loads((pull(str(shared), tmp_path / "got") / "config.json").read_text())
    assert (config["data"]["manifest"], config["data"]["classes"]) == ("manifest.csv", {"label": "x.csv"})
    assert (config["features"], config["train"]["pretrained"]) == ({}, "vit")


def test_a_clip_that_would_cost_too_much_is_refused(shared: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(weights, "MOST_GMACS", 1e-9)
    refused(shared, tmp_path, "one clip would cost .* GMACs")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("model.json", "[1]", "holds a list; expected an object"),
        ("model.json", "{", "model.json is not JSON"),
        ("model.json", "[" * 100_000, "model.json is not JSON"),
        ("config.json", "\xff", "config.json holds|config.json is not JSON"),
        ("model.safetensors", "\xff" * 7 + "\x7f" + "{}", "not a complete safetensors file"),
    ],
)
def test_broken_files_are_refused(shared: Path, tmp_path: Path, name: str, text: str, said: str) -> None:
    (shared / name).write_bytes(text.encode("latin-1"))
    refused(shared, tmp_path, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "evil.py"}, r"^classifier.json: method is 'evil.py'; expected 'sft', as in model.json, or 'auto'"),
        ({"labels": {"label": {"a": "os.system"}}}, "unknown type of label 'os.system'"),
        ({"labels": {}}, r"classifier.json: labels are"),
        ({"options": {"kep": 2}}, r"classifier.json: options: unknown argument 'kep'; did you mean 'keep'"),
        ({"options": {"method": "evil.py"}}, r"classifier.json: options: unknown argument 'method'"),
        ({"options": {"self": 1}}, r"classifier.json: options: unknown argument 'self'"),
        ({"later": 1}, r"classifier.json: unknown field 'later'"),
        ({"matrix": 10**9}, r"matrix is 1000000000; expected 0 to 1,000,000"),
    ],
)
def test_what_classifier_json_may_not_say_is_refused(shared: Path, tmp_path: Path, change: Any, said: str) -> None:
    write_classifier(shared)
    edit_json(shared / "classifier.json", lambda fitted: fitted.update(change))
    refused(shared, tmp_path, said)


def test_arguments_of_a_strangers_classifier_name_no_file(shared: Path, tmp_path: Path) -> None:
    write_classifier(shared)
    assert "anna" in (shared / "classifier.json").read_text()
    assert "anna" not in (pull(str(shared), tmp_path / "got") / "classifier.json").read_text()


def spoil_weights(shared: Path, change: dict[str, torch.Tensor | None]) -> None:
    found = checkpoint.load(shared / "model.safetensors")
    tensors = {name: t for name, t in {**found.tensors, **change}.items() if t is not None}
    checkpoint.save(shared / "model.safetensors", tensors, found.facts)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model/head.classify.weight": torch.zeros(3, 11)}, r"weight has shape \(3, 11\), expected \(3, 10\)"),
        ({"model/head.classify.weight": None}, r"head.classify.weight has shape none, expected \(3, 10\)"),
        ({"model/extra": torch.zeros(2)}, r"extra has shape \(2,\), expected none"),
        ({"mean/rgb": None}, r"mean/rgb has shape none, expected \(5,\)"),
        ({"std/rgb": torch.zeros(4)}, r"std/rgb has shape \(4,\), expected \(5,\)"),
    ],
)  # fmt: skip
def test_weights_of_another_model_are_refused(shared: Path, tmp_path: Path, change: Any, said: str) -> None:
    spoil_weights(shared, change)
    refused(shared, tmp_path, said)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("model/head.classify.weight", float("inf"), "model.safetensors: .*classify.weight has NaN or infinite values"),
        ("mean/rgb", float("nan"), "model.safetensors: mean/rgb has NaN or infinite values"),
        ("std/rgb", -1.0, "std/rgb is -1; expected values above 0"),
    ],
)
def test_values_that_no_model_can_use_are_refused(
    clean: Path, tmp_path: Path, name: str, value: float, said: str
) -> None:
    refused(tiny.spoilt(clean, tmp_path / "shared", {name: value}), tmp_path, said)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "0", "1e-30", "1e30"])
def test_a_temperature_that_none_is_fitted_to_is_refused(shared: Path, tmp_path: Path, value: str) -> None:
    text = (shared / "calibration.json").read_text()
    (shared / "calibration.json").write_text(re.sub(r'"temperature": [^,]*', f'"temperature": {value}', text))
    refused(shared, tmp_path, "calibration.json: temperature is ")


def test_links_are_refused_and_what_they_point_to_is_not_copied(shared: Path, tmp_path: Path) -> None:
    (shared / "metrics.jsonl").unlink()
    (shared / "metrics.jsonl").symlink_to("/etc/hostname")
    refused(shared, tmp_path, "metrics.jsonl in .* is not a plain file")


def test_a_folder_in_place_of_a_file_is_refused(shared: Path, tmp_path: Path) -> None:
    (shared / "env.json").unlink()
    (shared / "env.json").mkdir()
    refused(shared, tmp_path, "env.json in .* is not a plain file")


def test_files_that_are_too_large_are_refused_before_they_are_read(shared: Path, tmp_path: Path) -> None:
    with (shared / "config.json").open("r+b") as file:
        file.truncate(parcel.LIMITS["config.json"] + 1)  # a hole: it takes no room
    refused(shared, tmp_path, "config.json is 1,048,577 bytes; expected 1,048,576 at most")


@pytest.mark.parametrize("name", parcel.NEEDED)
def test_a_folder_that_lacks_a_file_is_no_run(shared: Path, tmp_path: Path, name: str) -> None:
    (shared / name).unlink()
    refused(shared, tmp_path, f"has no {name}")


def test_nothing_is_written_over(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "got").mkdir()
    (tmp_path / "got/mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        pull(str(shared), tmp_path / "got")
    assert (tmp_path / "got/mine.txt").read_text() == "mine"


def test_a_source_that_is_not_there_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a folder; expected one that `sparsefuse push` wrote"):
        pull(str(tmp_path / "none"), tmp_path / "got")


def test_a_pulled_run_can_be_adapted_with_its_old_clips(shared: Path, tmp_path: Path) -> None:
    from sparsefuse.inference.predictor import load
    from sparsefuse.runs.folder import RunFolder
    from sparsefuse.training import replay

    got = pull(str(shared), tmp_path / "got")
    found = replay.load(RunFolder(got), load(got).model)
    assert found is not None
    assert len(found.labels) == 9


def test_building_without_memory_leaves_torch_as_it_was(shared: Path, tmp_path: Path) -> None:
    """The hooks that count weights are gone, whether the run was refused or not."""
    edit_json(shared / "model.json", lambda facts: facts["options"].update(fusion_depth=1000))
    refused(shared, tmp_path, "more weights than model.safetensors")
    torch.nn.Sequential(*(torch.nn.Linear(1, 1) for _ in range(100)))
    assert torch.zeros(1).device.type == "cpu"


@pytest.mark.parametrize("name", ["model.json", "config.json", "env.json", "result.json", "calibration.json"])
def test_a_file_with_an_unknown_field_is_refused(shared: Path, tmp_path: Path, name: str) -> None:
    edit_json(shared / name, lambda facts: facts.update(later={"x": 1}))
    refused(shared, tmp_path, f"^{name}: unknown field 'later'")
