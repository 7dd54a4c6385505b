"""`sparsefuse predict`: a run folder and files in, labels on the screen out."""

import json
from collections.abc import Iterator
from pathlib import Path

from sparsefuse.data.labels import Labels
from sparsefuse.predict import Clip, Prediction, load
from sparsefuse.skipped import Unusable
from sparsefuse.table import SUFFIXES, check_ids, read_table


def show(run: Path, files: list[Path], *, top: int, as_json: bool, trust_code: bool) -> int:
    """Prints one prediction per clip as it is made; returns how many clips could not be read."""
    predictor = load(run, trust_code=trust_code)
    unusable = 0
    for name, clip in named_clips(files, predictor.columns):
        try:
            found = predictor.predict_one(clip)
        except Unusable as error:
            unusable += 1
            print(json.dumps({"clip": name, "error": str(error)}) if as_json else f"{name}: cannot be read: {error}")
            continue
        print(_json(name, found) if as_json else _line(name, found, top, predictor.labels))
    return unusable


def named_clips(files: list[Path], known: list[str]) -> Iterator[tuple[str, Clip]]:
    """(name, clip) of every file; a manifest stands for its rows, of which the `known` columns are read."""
    for path in files:
        if path.suffix.lower() not in SUFFIXES:
            yield str(path), path
            continue
        table = read_table(path)
        check_ids(path, table)
        columns = [name for name in known if name in table.columns]
        if not columns:
            raise ValueError(
                f"{path}: no column is one of {', '.join(known)}, which the model reads; columns: "
                f"{', '.join(table.columns)}; rename one"
            )
        for row in table.rows:
            yield row["id"], {name: path.parent / row[name] for name in columns if row[name]}


def _line(name: str, found: Prediction, top: int, labels: Labels) -> str:
    """The answer, and the `top` likeliest classes of each head."""
    text = f"{name}: {found.label or 'none'}"
    for span in labels.groups.values():
        likeliest = sorted((labels.classes[i] for i in span), key=lambda label: -found.probabilities[label])[:top]
        text += "".join(f"  {label} {found.probabilities[label]:.3f}" for label in likeliest)
    return text + "".join(f"\n  without {modality}: {why}" for modality, why in found.missing.items())


def _json(name: str, found: Prediction) -> str:
    return json.dumps({"clip": name, **found._asdict()}, ensure_ascii=False)
