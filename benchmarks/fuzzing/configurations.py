"""Configurations in YAML, through the command line's parser."""

import contextlib
import functools
import io
import random
import sys
from pathlib import Path

from fuzzing._bytes import mutated

EXPECTED = (ValueError,)
_WHOLE = """# a configuration
method: sft
seed: 3
data:
  manifest: manifest.csv
  modalities: [rgb, sound]
  split: {fractions: [0.8, 0.1, 0.1], seed: 1}
  label: "verb+noun"
options: &options
  sft: {keep: 0.5, mixup_alpha: 1.0}
train:
  epochs: 3
  lr: 1e-3
  batch_size: 8
"""
_ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1")


def make(rng: random.Random, folder: Path) -> Path:
    """A file, mutated."""
    path = folder / "config.yaml"
    text = _WHOLE
    if rng.random() < 0.1:
        text = text.replace("3", rng.choice(("9" * 5000, "0x" + "f" * 5000, "[" * 2000, "2026-99-99", "!!binary 'x'")))
    if rng.random() < 0.05:
        text += _aliases(rng.randrange(1, 9))
    content = text.encode(rng.choice(_ENCODINGS))
    path.write_bytes(mutated(rng, content) if rng.random() < 0.95 else content)
    return path


def _aliases(levels: int) -> str:
    """Ten times as large with every level."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    return "\n".join(lines) + f"\nlengths: *a{levels - 1}\n"


def attempt(path: Path) -> None:
    """As `sparsefuse check CONFIG.yaml` reads it; the verb does nothing."""
    from sparsefuse.cli import app

    @functools.wraps(app.VERBS["check"])
    def nothing(**_: object) -> None:
        pass

    before, said = (app.VERBS["check"], sys.argv), io.StringIO()
    try:
        app.VERBS["check"], sys.argv = nothing, ["sparsefuse", "check", str(path)]
        with contextlib.redirect_stderr(said):
            app.main()
    except SystemExit as ended:
        raise ValueError(f"{said.getvalue()}{ended}") from ended
    finally:
        app.VERBS["check"], sys.argv = before
