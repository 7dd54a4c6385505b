"""Run folders of which a field, a tensor or a line is not as training wrote it, through all that reads runs."""

import atexit
import contextlib
import functools
import io
import json
import logging
import os
import random
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from fuzzing._bytes import mutated
from sparsefuse.config import Config, Data, Train
from sparsefuse.files.skipped import Unusable

EXPECTED = (ValueError, Unusable, FileNotFoundError, FileExistsError)
PLACE = Path(os.environ.get("SPARSEFUSE_FUZZED_RUN") or tempfile.mkdtemp(prefix="sparsefuse-fuzzed-run-"))
"""made by the first process, for those that it starts too"""
if "SPARSEFUSE_FUZZED_RUN" not in os.environ:
    os.environ["SPARSEFUSE_FUZZED_RUN"] = str(PLACE)
    atexit.register(shutil.rmtree, PLACE, ignore_errors=True)
WIDTHS = {"rgb": 5, "sound": 4}
RECORDS = ("model.json", "config.json", "env.json", "result.json", "calibration.json", "metrics.jsonl")
TENSORS = ("model.safetensors", "last.safetensors", "replay.safetensors")


def prepare() -> None:
    """Trains the run, and imports what the verbs need."""
    with tempfile.TemporaryDirectory() as folder:
        run = shutil.copytree(base() / "run", Path(folder) / "run")
        for verb in _verbs(run).values():
            with contextlib.redirect_stdout(io.StringIO()):
                verb()


def make(rng: random.Random, folder: Path) -> Path:
    """A copy of a run, mutated."""
    run = shutil.copytree(base() / "run", folder / "run")
    for _ in range(1 if rng.random() < 0.8 else 2):
        name = rng.choice((*RECORDS, *RECORDS, *TENSORS, "model.json", "model.json"))
        path = run / name
        if rng.random() < 0.1:
            path.write_bytes(mutated(rng, path.read_bytes()))
        elif name in TENSORS:
            _other_tensor(rng, path)
        else:
            _other_field(rng, path)
    return run


def _other_field(rng: random.Random, path: Path) -> None:
    """One value of a JSON file, or of a line of it, is another one, is gone, or is under another name."""
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.suffix == ".jsonl" else []
        tree: Any = lines or json.loads(path.read_text())
    except ValueError:  # the mutation before
        return
    at, key = rng.choice(_places(tree))
    kind = rng.random()
    if kind < 0.08:
        del at[key]
    elif kind < 0.12 and isinstance(at, dict):
        at["x" * rng.choice((1, 3000))] = at.pop(key)
    else:
        at[key] = _value(rng, at[key])
    path.write_text("".join(json.dumps(line) + "\n" for line in tree) if lines else json.dumps(tree))


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """(container, key or index) of every value."""
    found: list[tuple[Any, Any]] = []
    for key, inner in tree.items() if isinstance(tree, dict) else enumerate(tree):
        found.append((tree, key))
        if isinstance(inner, dict | list):
            found += _places(inner)
    return found


def _value(rng: random.Random, now: Any) -> Any:
    deep: Any = 1
    for _ in range(rng.choice((3, 20, 900))):
        deep = rng.choice(([deep], {"x": deep}))
    numbers = (0, 1, 2, 3, 7, -1, 0.5, 1000, 65_536, 10**6, 10**9, 2**53, 2**63, 10**400, 1e-300, 1e9, 1e308)
    others = (None, True, False, float("nan"), float("inf"), "", "a", "sft", "../x", "/etc/hostname", "x" * 5000)
    lists = ([], {}, [now], {"x": now}, [now] * 1000, [1] * 100_000, {str(i): i for i in range(20_000)}, deep)
    return rng.choice((*numbers, *numbers, *others, *lists))


def _other_tensor(rng: random.Random, path: Path) -> None:
    """One tensor, or the facts beside them, is another one."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = json.loads(file.metadata()["facts"])
    except Exception:  # the mutation before
        return
    name = rng.choice(sorted(tensors))
    kind = rng.random()
    if kind < 0.3 and facts:
        at, key = rng.choice(_places(facts))
        at[key] = _value(rng, at[key])
    elif kind < 0.5 and tensors[name].numel():
        tensors[name] = tensors[name].clone()
        number = rng.choice((float("nan"), float("inf"), 3e38, -1.0, 0.0))
        tensors[name].flatten()[rng.randrange(tensors[name].numel())] = (
            number if tensors[name].is_floating_point() else 1
        )
    elif kind < 0.7:
        kinds = (torch.float16, torch.float64, torch.int64, torch.bool, torch.uint8, torch.bfloat16)
        tensors[name] = tensors[name].to(rng.choice(kinds))
    elif kind < 0.85:
        shapes = ((), (0,), (3,), (1, 1), (7, 10), (2, 3, 4, 5))
        tensors[name] = torch.zeros(rng.choice(shapes), dtype=tensors[name].dtype)
    elif kind < 0.93:
        tensors[rng.choice(("x", "model/x", "x/y", "optimizer/1", "optimizer/a/b", "mean/x"))] = tensors.pop(name)
    else:
        del tensors[name]
    save_file(tensors, path, {"facts": json.dumps(facts)})


def attempt(path: Path) -> None:
    """The verbs that read a run, of the slow ones one; the last expected error stands for all."""
    last: Exception | None = None
    logging.disable()
    verbs = _verbs(path)
    slow = sorted(verbs.keys() & {"finetune", "push", "pull", "report", "resume"})
    kept = slow[sum(file.stat().st_size for file in path.iterdir()) % len(slow)]
    for name in [name for name in verbs if name not in slow or name == kept]:
        verb = verbs[name]
        begin = time.process_time()
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                verb()
        except Exception as error:
            if type(error) not in EXPECTED or len(str(error)) > 1000 or "\n" in str(error):
                error.add_note(f"verb {name}")
                raise
            last = error
        if time.process_time() - begin > 15:  # of work: a busy machine takes longer
            raise RuntimeError(f"{name} takes {time.process_time() - begin:.0f} s")
    if last:
        raise last


def _verbs(run: Path) -> dict[str, Callable[[], object]]:
    from sparsefuse.explain import explain
    from sparsefuse.export.clips import of_run
    from sparsefuse.export.program import Program
    from sparsefuse.finetune import Settings, finetune
    from sparsefuse.inference.clips import show
    from sparsefuse.inference.evaluate import evaluate, open_run
    from sparsefuse.inference.predictor import load
    from sparsefuse.report.page import read_runs, runs_table, summarise, write_report
    from sparsefuse.runs.folder import RunFolder
    from sparsefuse.serve.limits import ServeLimits
    from sparsefuse.serve.service import Service
    from sparsefuse.sharing import pull, push
    from sparsefuse.training import replay
    from sparsefuse.training.train import train

    manifest, copies = base() / "data" / "manifest.csv", iter(range(100))

    def copy(*left_out: str) -> Path:
        there = run.parent / f"copy{next(copies)}"
        return shutil.copytree(run, there, ignore=shutil.ignore_patterns(*left_out))

    def export() -> None:
        predictor = load(run)
        of_run(run, "valid", predictor, Program(predictor).inputs)

    def remember() -> None:
        opened, there = open_run(run, split="train"), copy()
        replay.keep(RunFolder(there), opened.predictor.model, opened.data, 1)

    def report() -> None:
        rows = summarise(read_runs(run))
        str(runs_table(rows))
        runs_table(rows).markdown()
        write_report(run, run.parent / "report.html")

    return {
        "predict": lambda: show(run, [manifest], top=3, as_json=True, trust_code=False),
        "explain": lambda: explain(run, {name: np.ones((3, width)) for name, width in WIDTHS.items()}),
        "eval": lambda: evaluate(run),
        "calibrate": lambda: evaluate(copy(), split="valid", calibrated=True),
        "export": export,
        "serve": lambda: Service(run, ServeLimits(), run.parent),
        "finetune": lambda: finetune(
            run, manifest, run.parent / "tuned", settings=Settings("head", epochs=1), measured=False
        ),
        "remember": remember,
        "push": lambda: push(run, str(run.parent / "pushed")),
        "pull": lambda: pull(str(run), run.parent / "pulled"),
        "report": report,
        "resume": lambda: train(_config(), copy("result.json"), root=Path(), resume=True, measured=False, shown=False),
    }


def _config() -> Config:
    options = {"dim": 10, "num_heads": 2, "fusion_depth": 1, "unimodal_depth": 1, "keep": 2}
    train = Train(epochs=2, batch_size=4, mixup_alpha=0.0, device="cpu")
    return Config(data=Data(manifest=str(PLACE / "data" / "manifest.csv")), options={"sft": options}, train=train)


@functools.cache
def base() -> Path:
    """`PLACE`, with a run in `run` and what it was trained on in `data`."""
    from sparsefuse.training.train import train

    if not (PLACE / "run").exists():
        rng = np.random.default_rng(0)
        (PLACE / "data").mkdir()
        lines = ["id,rgb,sound,label,split"]
        for i in range(17):
            split = "train" if i < 9 else "valid" if i < 13 else "test"
            for name, width in WIDTHS.items():
                np.save(PLACE / "data" / f"{i}-{name}.npy", rng.normal(size=(3 + i % 3, width)).astype(np.float32))
            lines.append(f"{split}{i},{i}-rgb.npy,{i}-sound.npy,{'abc'[i % 3]},{split}")
        (PLACE / "data" / "manifest.csv").write_text("\n".join(lines) + "\n")
        made = {"sound": {"extractor": "spectrogram", "source": "audio", "rate": 16000, "bins": 4, "context": 0}}
        (PLACE / "data" / "features.json").write_text(json.dumps({"features": made}))
        train(_config(), PLACE / "run", root=Path(), measured=False, shown=False)
    return PLACE
