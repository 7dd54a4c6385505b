"""Verbs that make and check data: files in, feature files and a manifest out."""

from pathlib import Path
from typing import Literal

from sparsefuse.config import Config


def demo(out: Path = Path("sparsefuse-demo"), clips: int = 360, epochs: int = 16, seed: int = 0) -> None:
    """Renders clips with sound, then does all a user would: extract, compare, report, predict one fresh clip.

    Args:
        out: folder for clips, features, runs and the report
        clips: how many clips to render
        epochs: passes over the training clips
        seed: seed of the clips and of the models
    """
    from sparsefuse.demo import run

    run(out, clips=clips, epochs=epochs, seed=seed)


def prepare(data_set: str, source: Path, out: Path) -> None:
    """Turns a public data set, as it is distributed, into feature files and a manifest.

    Args:
        data_set: av_digits, grid or utd_mhad
        source: folder with the unpacked data set
        out: folder for the manifest and what it names
    """
    from sparsefuse.data.formats import prepare

    print(prepare(data_set, source, out))


def generate(
    out: Path,
    clips: int = 1200,
    parts: int = 3,
    redundancy: float = 0.25,
    one: float = 0.25,
    both: float = 0.25,
    lengths: dict[str, int] = {"left": 32, "right": 64},  # noqa: B006
    seed: int = 0,
) -> None:
    """Makes feature files of two modalities whose redundancy and complementarity are known.

    Args:
        out: folder for the features, manifest.csv and truth.json
        clips: how many
        parts: a class is a pair of parts; this many of each make parts x parts classes
        redundancy: share of a stream's tokens that show something of the class
        one: share of the clips in which one modality shows the class and the other nothing
        both: share of the clips in which each modality shows half of the class; in the rest each shows all of it
        lengths: tokens of the two modalities, as left=32,right=64
        seed: seed of the clips
    """
    from sparsefuse.data.known import generate

    print(
        generate(out, clips=clips, parts=parts, redundancy=redundancy, one=one, both=both, lengths=lengths, seed=seed)
    )


def extract(manifest: Path, out: Path, config: Config, jobs: int = 0, strict: bool = False) -> None:
    """Makes feature files from the media files of a manifest, and a new manifest that names them.

    Args:
        manifest: CSV or JSONL with id, one column per media or feature file, and labels
        out: folder for the features; a rerun makes only what is missing
        jobs: processes; 0 = one per core
        strict: stop at the first clip that cannot be used
    """
    from sparsefuse.features.extract import extract

    found = extract(manifest, out, features=config.features, jobs=jobs, strict=strict)
    print(f"{found.done} made, {found.reused} reused, {len(found.skipped)} skipped -> {found.manifest}")
    if found.skipped:
        print(f"skipped: see {out / 'skipped.jsonl'}; the first is {found.skipped[0].id}: {found.skipped[0].reason}")


def check(
    config: Config, json: Path | None = None, report: Path | None = None, jobs: int = 0, strict: bool = False
) -> None:
    """Reads all data a configuration names and says what would go wrong. Exit code 1 if there are errors, else 0.

    Args:
        json: write the findings to this file too
        report: write a page with pictures to this file, such as data.html
        jobs: processes that look into media; 0 = one per core
        strict: exit code 1 if there are warnings, too
    """
    from sparsefuse.checks import check_config
    from sparsefuse.data.check import check, show
    from sparsefuse.files import write_json

    check_config(config)
    if report and report.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"report is {report}, expected the name of a page, such as {report.stem}.html")
    found = check(config.data, Path(), jobs=jobs)
    show(found)
    if json:
        write_json(json, found.to_json())
    if report:
        from sparsefuse.check_page import write_page

        print(write_page(found, report))
    if found.counts["error"] or (strict and found.counts["warning"]):
        raise SystemExit(1)


def export_features(config: Config, out: Path, format: Literal["npz", "hf"] = "npz") -> None:
    """Writes the features and labels of a configuration for other tools: numpy, or Hugging Face's datasets.

    Args:
        out: folder to write, which is new or empty
        format: npz = one file per split, and a manifest that trains as it is; hf = for datasets.load_from_disk
    """
    from sparsefuse.checks import check_config
    from sparsefuse.data.bundle import export_features

    check_config(config)
    found = export_features(config.data, Path(), out, format)
    counts = ", ".join(f"{split} {len(rows)}" for split, rows in found.rows.items())
    print(f"{counts} clips, {len(found.skips)} skipped -> {out}")
    if found.skips:
        print(f"skipped: see {out / 'skipped.jsonl'}; the first is {found.skips[0].id}: {found.skips[0].reason}")
