"""The commands that come after training: a finished run in, lines that work for it out."""

import os
import shlex
from importlib.util import find_spec
from pathlib import Path

from sparsefuse.config import Config
from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.config.points import POINT_TASKS
from sparsefuse.files.references import FILES, split_ref, suffix
from sparsefuse.files.rows import Table, numbered, read_table
from sparsefuse.methods import BASELINE
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ENSEMBLE, ModelFacts


def next_steps(run: Path, manifest: Path | None = None) -> list[str]:
    """Three commands: predict, and serve, export or explain, whichever the installed packages and the
    model let work; two of a run on pictures or clouds.

    `manifest` lists the files that features were made from; without it, the run's own manifest is the example.
    """
    path = manifest or Path(RunFolder(run).read(Config).data.manifest)
    if RunFolder(run).task in (*PIXEL_TASKS, *POINT_TASKS):
        return [shlex.join(["sparsefuse", *map(str, more)]) for more in (["predict", run, path], ["eval", run])]
    facts = RunFolder(run).read(ModelFacts)
    table = numbered(read_table(path))
    trust = ["--trust-code"] * any(code.endswith(".py") for code in facts.code)
    file = _only_file(table, path.parent, [*facts.features, *(spec["source"] for spec in facts.extractors.values())])
    clip = [str(file)] if file else ["--manifest", str(path), "--id", table.rows[0]["id"]]
    commands = [["predict", run, file or path]]
    commands += [["serve", run]] * bool(find_spec("uvicorn") and find_spec("python_multipart"))
    commands += [["export", run]] * bool(find_spec("onnx") and find_spec("onnxruntime"))
    whole = RunFolder(run).read(Config).method in (BASELINE, ENSEMBLE)  # `explain` traces the attention of one model
    commands += [] if whole else [["explain", run, *clip]]
    commands += [["eval", run]]
    return [shlex.join(["sparsefuse", *map(str, command), *trust]) for command in commands[:3]]


def _only_file(table: Table, root: Path, columns: list[str]) -> Path | None:
    """The first clip's file, if all of a clip is in one."""
    cells = {table.rows[0][name] for name in columns if table.rows[0].get(name)}
    (cell,) = cells if len(cells) == 1 else ("",)
    return Path(os.path.relpath(root / cell)) if suffix(cell) in FILES and not split_ref(cell)[1] else None
