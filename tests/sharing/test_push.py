"""What leaves the machine: the run's files, a card made of its results, and nothing about who made it."""

import errno
import importlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from shared_run import edit_json, trained, write_classifier

from command import call
from sparsefuse.classifier import Classifier
from sparsefuse.cli.app import main
from sparsefuse.config import Split
from sparsefuse.files import checkpoint
from sparsefuse.files.typed import to_json
from sparsefuse.inference.predictor import load
from sparsefuse.sharing import hub, pull, push
from sparsefuse.sharing.place import place
from sparsefuse.sharing.scrubbed import last

push_module = importlib.import_module("sparsefuse.sharing.push")  # the package has the function under that name


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("sharing"))


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    """A copy, alone in its folder."""
    return shutil.copytree(original, tmp_path / "runs/run")


def test_a_run_that_was_pushed_and_pulled_predicts_the_same(run: Path, tmp_path: Path) -> None:
    push(run, str(tmp_path / "shared"))
    got = pull(str(tmp_path / "shared"), tmp_path / "got")
    clip = {"rgb": np.ones((3, 5), np.float32), "sound": np.ones((2, 4), np.float32)}
    assert load(got).predict(clip) == load(run).predict(clip)


def test_a_classifier_that_was_pushed_and_pulled_has_its_types_and_arguments(run: Path, tmp_path: Path) -> None:
    write_classifier(run)
    push(run, str(tmp_path / "shared"))
    assert "anna" not in (tmp_path / "shared/classifier.json").read_text()
    clf = Classifier.load(pull(str(tmp_path / "shared"), tmp_path / "got"), device="cpu")
    of_run = {"classes": {}, "pretrained": "", "split": to_json(Split())}  # as config.json says them
    given = {"method": "sft", "epochs": 3, "keep": 2, **of_run}
    assert clf.get_params() == {**given, "gmacs": None, "time_limit": None, "verbose": None}
    assert list(clf.feature_names_in_) == ["rgb", "sound"]
    assert clf.classes_.tolist() == ["a", "b", "c"]
    assert clf.classes_.dtype.kind == "U", "strings of numpy, not objects"


def test_an_argument_that_no_classifier_has_is_not_sent(run: Path, tmp_path: Path) -> None:
    write_classifier(run)
    edit_json(run / "classifier.json", lambda fitted: fitted["options"].update(kep=2))
    with pytest.raises(ValueError, match=r"classifier\.json: options: unknown argument 'kep'; did you mean 'keep'"):
        push(run, str(tmp_path / "shared"))


def test_only_files_of_the_list_are_sent(run: Path, tmp_path: Path) -> None:
    (run / "notes.txt").write_text("mine")
    push(run, str(tmp_path / "shared"))
    assert {path.name for path in (tmp_path / "shared").iterdir()} == {
        *("README.md", "model.safetensors", "model.json", "config.json", "env.json", "result.json", "metrics.jsonl"),
        "calibration.json",
    }


@pytest.mark.parametrize("full_at", ["model.safetensors", "README.md"])
def test_a_full_disk_leaves_nothing_under_the_final_name(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_at: str
) -> None:
    def full(*names: Path, **_: object) -> None:
        if names[-1].name == full_at and tmp_path in names[-1].parents:
            names[-1].write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        if len(names) == 2:
            copyfile(*names)

    copyfile, write = shutil.copyfile, push_module.write_text
    monkeypatch.setattr(shutil, "copyfile", full)
    monkeypatch.setattr(push_module, "write_text", lambda path, text: (full(path), write(path, text)))
    with pytest.raises(OSError, match="No space left"):
        push(run, str(tmp_path / "shared"))
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_old_clips_go_along_only_if_asked(run: Path, tmp_path: Path) -> None:
    push(run, str(tmp_path / "shared"), with_replay=True)
    assert (tmp_path / "shared/replay.safetensors").read_bytes() == (run / "replay.safetensors").read_bytes()


def test_no_path_command_or_group_is_sent(run: Path, tmp_path: Path) -> None:
    edit_json(run / "config.json", lambda config: config["data"]["split"].update(test_groups=["anna"], folds=[["bob"]]))
    edit_json(run / "result.json", lambda result: result.update(data="/home/anna/anna.csv"))
    push(run, str(tmp_path / "shared"))
    for path in (tmp_path / "shared").iterdir():
        if path.suffix != ".safetensors":
            text = path.read_text()
            assert "anna" not in text, path.name
            assert "bob" not in text, path.name
            assert str(run.parent) not in text, path.name
            assert "pytest" not in text, path.name  # the command, and the temporary folder
    env = json.loads((tmp_path / "shared/env.json").read_text())
    assert env["torch"] == torch.__version__
    assert "command" not in env


@pytest.mark.parametrize("path", ["/home/anna/model", "/tmp/x", "C:\\Users\\anna", "~/anna"])
def test_a_path_that_is_left_stops_the_push(run: Path, tmp_path: Path, path: str) -> None:
    edit_json(run / "result.json", lambda result: result.update(name=f"see {path}"))
    with pytest.raises(ValueError, match=r"result.json contains the path"):
        push(run, str(tmp_path / "shared"))
    assert not (tmp_path / "shared").exists()


def test_names_that_only_look_like_paths_may_go(run: Path, tmp_path: Path) -> None:
    """Sound classes of AudioSet are called so."""
    edit_json(run / "model.json", lambda facts: facts["labels"].update(classes=["/m/09x0r", "and/or", "a:b"]))
    push(run, str(tmp_path / "shared"))


def test_a_run_whose_method_is_code_cannot_be_shared(run: Path, tmp_path: Path) -> None:
    edit_json(run / "model.json", lambda facts: facts.update(method="my/fusion.py"))
    with pytest.raises(ValueError, match=r"method is the code 'fusion.py'"):
        push(run, str(tmp_path / "shared"))


def test_a_folder_that_is_no_run_or_a_full_target_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no model.safetensors"):
        push(tmp_path, str(tmp_path / "shared"))
    with pytest.raises(FileExistsError, match="is not empty"):
        push(run, str(run))


def test_a_dry_run_lists_and_sends_nothing(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    said = push(run, str(tmp_path / "shared"), dry_run=True)
    assert "nothing was sent" in said
    assert not (tmp_path / "shared").exists()
    size = (run / "model.safetensors").stat().st_size
    assert f"{size:,} bytes  model.safetensors" in caplog.text
    assert "replay.safetensors" not in caplog.text


def card_of(run: Path, target: Path, **stated: str) -> str:
    push(run, str(target), **stated)
    return (target / "README.md").read_text()


def test_the_card_gives_mean_and_deviation_over_seeds_beside_the_run(run: Path, tmp_path: Path) -> None:
    """By hand: 50, 60 and 70 % have the mean 60 and the sample deviation 10. The other two runs are not its like."""
    for seed, top1, name in ((0, 0.5, "sft"), (1, 0.6, "sft"), (2, 0.7, "sft"), (3, 0.0, "sft-wide"), (4, 0.0, "sft")):
        folder = run if seed == 0 else shutil.copytree(run, run.parent / f"seed{seed}")
        edit_json(folder / "result.json", lambda r, s=seed, t=top1, n=name: r.update(seed=s, name=n, test={"top1": t}))
        edit_json(folder / "config.json", lambda c, s=seed: c.update(seed=s))
    edit_json(run.parent / "seed4/config.json", lambda config: config["train"].update(lr=0.5))
    text = card_of(run, tmp_path / "shared")
    assert "| Top-1 | 50.00 % | 60.00 % ± 10.00 % | n = 3 |" in text
    assert "On 4 test clips." in text


def test_the_card_counts_only_the_runs_that_were_scored_on_the_split(run: Path, tmp_path: Path) -> None:
    """By hand: of 50 and 70 % the mean is 60, the sample deviation 14.14; the third run was not tested."""
    for seed, test in ((0, {"top1": 0.5}), (1, {"top1": 0.7}), (2, {})):
        folder = run if seed == 0 else shutil.copytree(run, run.parent / f"seed{seed}")
        edit_json(folder / "result.json", lambda r, s=seed, t=test: r.update(seed=s, test=t))
        edit_json(folder / "config.json", lambda c, s=seed: c.update(seed=s))
    assert "| Top-1 | 50.00 % | 60.00 % ± 14.14 % | n = 2 |" in card_of(run, tmp_path / "shared")


def test_the_card_of_one_seed_says_so_and_states_nothing_it_was_not_told(run: Path, tmp_path: Path) -> None:
    text = card_of(run, tmp_path / "shared")
    assert "n = 1" in text
    assert "One seed: no deviation." in text
    assert "What it was trained on: not stated." in text
    assert text.rstrip().endswith("## Licence\n\nnot stated")
    assert "license:" not in text


def test_the_card_says_that_chance_chose_the_weights(run: Path, tmp_path: Path) -> None:
    edit_json(run / "result.json", lambda result: result.update(warnings=["one group alone validates"]))
    assert "The choice of its weights is doubtful: one group alone validates." in card_of(run, tmp_path / "shared")


def test_the_card_has_no_latency_that_cannot_be_trusted(run: Path, tmp_path: Path) -> None:
    edit_json(run / "result.json", lambda result: result["cost"].update(latency_ms=1.25))
    assert "| latency, batch 1 | 1.25 ms |" in card_of(run, tmp_path / "a")
    of_batches = {"doubt": "the runs differ too much"}
    edit_json(run / "result.json", lambda result: result["cost"].update(of_batches))
    assert "Latency could not be measured" not in card_of(run, tmp_path / "b")
    edit_json(run / "result.json", lambda result: result["cost"].update(latency_ms=None))
    text = card_of(run, tmp_path / "c")
    assert "| latency, batch 1 | - |" in text
    assert "Latency could not be measured: the runs differ too much." in text


def test_the_card_says_where_its_latency_was_measured(run: Path, tmp_path: Path) -> None:
    """A run of a comparison is trained with a thread, and measured with all."""
    edit_json(run / "env.json", lambda env: env.update(device="8 CPU cores", threads=1, torch="2.9.0"))
    edit_json(run / "result.json", lambda result: result["cost"].update(where="4 CPU cores, 4 threads, torch 2.8.0"))
    assert "in float32, on 4 CPU cores, 4 threads, torch 2.8.0." in card_of(run, tmp_path / "a")
    edit_json(run / "result.json", lambda result: result["cost"].update(where=""))
    assert "in float32, on 8 CPU cores, torch 2.9.0." in card_of(run, tmp_path / "b"), "an older run does not know"


def test_the_card_says_what_it_was_told(run: Path, tmp_path: Path) -> None:
    text = card_of(run, tmp_path / "shared", license="apache-2.0", data="Made <b>up</b>.")
    assert text.startswith('---\nlicense: "apache-2.0"\n')
    assert "Made \\<b\\>up\\</b\\>." in text
    for said in ("| rgb | 5 | 4 |", "3 classes: a, b, c.", "GMACs", "sparsefuse pull shared model"):
        assert said in text


def test_no_name_makes_anything_but_text_of_the_card(run: Path, tmp_path: Path) -> None:
    evil, shown = "<img src=//x>|[a](http://x)\n# b", r"\<img src=//x\>\|[a\](http\://x) # b"
    edit_json(run / "model.json", lambda facts: facts["labels"].update(classes=[evil, "x" * 500, "c"]))
    edit_json(run / "result.json", lambda result: result.update(warnings=[evil], classes=[evil, "b", "c"]))
    text = card_of(run, tmp_path / "shared", data=evil)
    assert text.count(shown) == 3
    assert len(text) < 10_000
    assert "<img" not in text.replace("\\<img", "")


def test_the_cards_python_runs(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    text = card_of(run, tmp_path / "shared")
    pull(str(tmp_path / "shared"), tmp_path / "model")
    np.save(tmp_path / "rgb.npy", np.ones((3, 5), np.float32))
    np.save(tmp_path / "sound.npy", np.ones((3, 4), np.float32))
    monkeypatch.chdir(tmp_path)
    exec(text.split("```python\n")[1].split("```")[0])
    assert "Prediction(label=" in capsys.readouterr().out


def test_the_card_of_an_adapted_run_says_what_it_came_from(run: Path, tmp_path: Path) -> None:
    origin = {"name": "sft", "weights": "00", "clips": {"count": 6, "hash": "00"}}
    edit_json(run / "model.json", lambda facts: facts.update(finetuned_from=origin))
    text = card_of(run, tmp_path / "shared")
    assert "adapted from a model called sft to 6 clips of one user" in text


@pytest.mark.parametrize(("path", "name"), [("a/b.csv", "b.csv"), ("C:\\a\\b.csv", "b.csv"), ("b", "b"), ("", "")])
def test_the_last_part_of_a_path_is_its_name(path: str, name: str) -> None:
    assert last(path) == name


def test_a_name_may_not_be_taken_for_a_folder_or_the_other_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there/model").mkdir(parents=True)
    assert place("hub://there/model") == "there/model"
    for text in ("./owner/model", "there/model", "there", "/owner/model", "../model"):
        assert place(text) == Path(text)
    assert place("~/model") == Path.home() / "model"
    for text in ("owner/model", "hf://owner/model"):
        with pytest.raises(
            ValueError, match=r"no folder .*; write hub://owner/model for the hub, or \./owner/model for"
        ):
            place(text)
    for text in ("model", "a/b/c", "there/new/model"):
        with pytest.raises(ValueError, match=r"no folder .*; write hub://owner/name for the hub"):
            place(text)
    with pytest.raises(ValueError, match="not a repository"):
        place("hub://model")


class Hub:
    """Stands in for huggingface_hub.HfApi: what it is asked to do is noted, what it has is in a folder."""

    def __init__(self, folder: Path):
        self.folder, self.private, self.sizes, self.calls = folder, True, {}, []

    def create_repo(self, name, *, private, exist_ok):
        self.calls.append(("create", name, private))
        assert exist_ok
        return f"https://hub/{name}"

    def model_info(self, name, *, revision=None, files_metadata=False):
        files = [
            SimpleNamespace(rfilename=path.name, size=path.stat().st_size) for path in sorted(self.folder.glob("*"))
        ]
        files += [SimpleNamespace(rfilename=file, size=size) for file, size in self.sizes.items()]
        return SimpleNamespace(private=self.private, sha="c0ffee", siblings=files)

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, delete_patterns, commit_message):
        assert sorted(path.name for path in Path(folder_path).iterdir()) == allow_patterns
        for name in delete_patterns:
            (self.folder / name).unlink(missing_ok=True)
        shutil.copytree(folder_path, self.folder, dirs_exist_ok=True)
        self.calls.append(("upload", repo_id))

    def hf_hub_download(self, name, file, *, revision, local_dir):
        assert revision == "c0ffee"
        self.calls.append(("download", file))
        (Path(local_dir) / ".cache/huggingface").mkdir(parents=True, exist_ok=True)  # as the real one does
        shutil.copyfile(self.folder / file, Path(local_dir) / file)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    found = Hub(tmp_path / "hub")
    monkeypatch.setattr(hub, "_api", lambda: found)
    return found


def test_the_hub_gets_what_a_folder_gets_and_gives_it_back(run: Path, tmp_path: Path, api: Hub) -> None:
    assert push(run, "hub://anna/model", license="mit") == "https://hub/anna/model"
    push(run, str(tmp_path / "model"), license="mit")
    same = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir() if path.name != "README.md"}
    assert {path.name: path.read_bytes() for path in api.folder.iterdir() if path.name != "README.md"} == same
    got = pull("hub://anna/model", tmp_path / "got")
    assert {path.name for path in got.iterdir()} == {*same, "README.md"}
    assert "sparsefuse pull hub://anna/model model" in (got / "README.md").read_text()


def test_nothing_of_another_run_stays_on_the_hub(run: Path, tmp_path: Path, api: Hub) -> None:
    """Another model's temperature would be taken for this one's."""
    push(run, "hub://anna/model")
    (api.folder / ".gitattributes").write_text("own")
    assert (api.folder / "calibration.json").exists()
    plain = shutil.copytree(run, tmp_path / "plain")
    (plain / "calibration.json").unlink()
    push(plain, "hub://anna/model")
    assert not (api.folder / "calibration.json").exists()
    assert (api.folder / ".gitattributes").exists()
    assert load(pull("hub://anna/model", tmp_path / "got")).temperature == 1


def test_nothing_private_goes_to_a_public_repository(run: Path, api: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    api.private = False
    with pytest.raises(ValueError, match="anna/model exists and is public"):
        push(run, "hub://anna/model")
    assert api.calls == [("create", "anna/model", True)]
    push(run, "hub://anna/model", private=False)
    assert api.calls[1:] == [("create", "anna/model", False), ("upload", "anna/model")]
    api.private, api.calls = True, []
    assert call(monkeypatch, "push", str(run), "hub://anna/model") == 0
    assert call(monkeypatch, "push", str(run), "hub://anna/model", "--public") == 0
    assert [call[2] for call in api.calls if call[0] == "create"] == [True, False], "private is the default"


@pytest.mark.parametrize(
    ("sizes", "said"),
    [({"env.json": 10**12}, "env.json is 1,000,000,000,000 bytes"), ({"calibration.json": None}, "of unknown size")],
)
def test_the_hubs_sizes_are_looked_at_before_anything_is_fetched(
    run: Path, tmp_path: Path, api: Hub, sizes, said
) -> None:
    push(run, "hub://anna/model")
    api.sizes, api.calls = sizes, []
    with pytest.raises(ValueError, match=said):
        pull("hub://anna/model", tmp_path / "got")
    assert api.calls == []
    assert not (tmp_path / "got").exists()


def test_other_files_of_a_repository_are_not_fetched(run: Path, tmp_path: Path, api: Hub, caplog) -> None:
    push(run, "hub://anna/model")
    api.sizes = {"../../evil.py": 3, "data.pkl": 3, "model.json/../x": 3}
    pull("hub://anna/model", tmp_path / "got")
    assert {call[1] for call in api.calls if call[0] == "download"} <= {path.name for path in api.folder.iterdir()}
    for name in api.sizes:
        assert f"not a file of a run: {name!r}" in caplog.text


def test_what_the_hub_refuses_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real errors of huggingface_hub; without a network it cannot be asked itself."""
    from huggingface_hub.errors import HFValidationError, HTTPError

    for error, kind, said in (
        (HFValidationError("bad name"), ValueError, "'a/b' is not a repository name: bad name"),
        (HTTPError("Name not known"), OSError, "the hub failed for a/b: Name not known"),
    ):

        def refuse(*_: object, error: Exception = error, **_more: object) -> None:
            raise error

        monkeypatch.setattr(hub, "_api", lambda refuse=refuse: SimpleNamespace(model_info=refuse))
        with pytest.raises(kind, match=said):
            pull("hub://a/b", tmp_path / "got")


def test_the_command_line_shares_and_gets(run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    for argv in (
        ["push", run, tmp_path / "shared", "--license", "mit"],
        ["pull", tmp_path / "shared", tmp_path / "got"],
    ):
        monkeypatch.setattr("sys.argv", ["sparsefuse", *map(str, argv)])
        main()
    assert capsys.readouterr().out.split() == [str(tmp_path / "shared"), str(tmp_path / "got")]
    assert checkpoint.load(tmp_path / "got/model.safetensors").tensors.keys()
