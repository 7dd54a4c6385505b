"""Verbs that make and check data: files in, feature files and a manifest out."""

from pathlib import Path
from typing import Any, Literal

from sparsefuse.config import Config


def demo(
    out: Path = Path("sparsefuse-demo"),
    clips: int = 360,
    epochs: int = 16,
    seed: int = 0,
    task: Literal["class", "segment"] = "class",
    scenes: int = 800,
) -> None:
    """Shows the usual steps in a few minutes, on clips it renders. Extract, compare, report, predict a new clip.

    Args:
        out: folder for clips, features, runs and the report; those of segment go into its folder segment
        clips: how many clips to render
        epochs: passes over the training clips
        seed: seed of the clips and of the models
        task: class, or segment: rooms are generated, and a class is learned for each of their pixels
        scenes: with --task segment, how many rooms
    """
    if task == "segment":
        from sparsefuse.cli import demo_pixels

        demo_pixels.run(out / "segment", scenes=scenes, epochs=epochs, seed=seed)
        return
    from sparsefuse.cli.demo import run

    run(out, clips=clips, epochs=epochs, seed=seed)


def prepare(data_set: str, source: Path, out: Path, options: dict[str, Any] = {}) -> None:  # noqa: B006
    """Makes a manifest of a data set in the layout it comes in. Features in it are written beside it.

    Args:
        data_set: name of a recipe, see below; `sparsefuse prepare NAME --help` has its layout and options
        source: folder with the unpacked data set, an archive of it (.zip, .tar.gz ...), or for some data sets one file
        out: folder for the manifest and what it names
        options: options of the recipe, as --options.subset vggs10
    """
    from sparsefuse.data.formats import prepare

    print(prepare(data_set, source, out, options))


def recipes(word: str) -> str:
    """The recipes of `prepare`, a line each; or all about one, if the word names it."""
    from sparsefuse.data.formats import guide

    return guide(word)


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
    """Generates synthetic features of two modalities. You set how redundant and how complementary they are.

    Args:
        out: folder for the features, manifest.csv and truth.json
        clips: how many
        parts: a class is a pair of parts; this many of each make parts x parts classes
        redundancy: share of a stream's tokens that hold evidence of the class
        one: share of the clips in which one modality shows the class and the other is noise
        both: share of the clips in which each modality shows half of the class; in the rest each shows all of it
        lengths: tokens of the two modalities, as left=32,right=64
        seed: seed of the clips
    """
    from sparsefuse.data.known import generate

    print(
        generate(out, clips=clips, parts=parts, redundancy=redundancy, one=one, both=both, lengths=lengths, seed=seed)
    )


def generate_rooms(
    out: Path,
    scenes: int = 1200,
    size: int = 96,
    seed: int = 0,
    clouds: bool = False,
    frames: int = 1,
    points: int = 4096,
    fractions: tuple[float, float, float] = (0.75, 0.1, 0.15),
    jobs: int = 0,
) -> None:
    """Generates pictures of rooms with known truth. To label pixels, translate and detect; also `generate rooms`.

    Args:
        out: folder for the pictures, manifest.csv, segment.yaml and translate.yaml; a rerun makes only what is missing
        scenes: how many; more scenes of the same seed begin with the same ones
        size: rows and columns of a picture
        seed: seed of the set; sets of different seeds share no scene
        clouds: write clouds of points, boxes and cameras too
        frames: pictures per scene, each from another place, that its cloud is made of; the first is in the manifest
        points: points per cloud
        fractions: shares of train, valid and test
        jobs: processes; 0 = one per core
    """
    from sparsefuse.rooms import generate

    more: dict[str, Any] = {"frames": frames, "num_points": points, "fractions": fractions, "jobs": jobs}
    print(generate(out, scenes, size, seed, clouds=clouds, **more))


def extract(
    manifest: Path,
    out: Path,
    config: Config,
    jobs: int = 0,
    strict: bool = False,
    engine: Literal["local", "ray"] = "local",
    device: str = "auto",
    timeout: float = 600.0,
    max_minutes: float = 60.0,
    max_gb: float = 20.0,
    max_frames_gb: float = 4.0,
    offline: bool = False,
    roots: list[Path] = [],  # noqa: B006
) -> None:
    """Makes features of the media files that a manifest names. Writes a new manifest, which names the features.

    Args:
        manifest: CSV or JSONL with id, one column per media or feature file, and labels; columns `start` and `end`
            (seconds) cut clips out of longer files
        out: folder for the features; a rerun makes only what is missing
        jobs: processes; 0 = one per core; 1 = this process alone, without time-out or crash protection
        strict: stop at the first clip that cannot be used
        engine: local, or ray: a Ray cluster (RAY_ADDRESS, else one on this machine)
        device: where encoders run, whatever their options say: cpu, cuda, cuda:1 ...; auto = what they say, by
            default a GPU if there is one
        timeout: seconds after which a clip is skipped
        max_minutes: longest film, or part of one, that is read
        max_gb: largest file that is read
        max_frames_gb: most memory for the frames of one clip
        offline: fetch nothing from the network, and read only files in the manifest's folder and in --roots
        roots: other folders that may be read with --offline
    """
    from sparsefuse.features.extract import extract
    from sparsefuse.media.fetch import allowed_roots

    limits = {"timeout": timeout, "max_minutes": max_minutes, "max_gb": max_gb, "max_frames_gb": max_frames_gb}
    where: dict[str, Any] = {"engine": engine, "device": device, "roots": allowed_roots(offline, roots)}
    print(extract(manifest, out, features=config.features, jobs=jobs, strict=strict, **limits, **where))


def check(
    config: Config, json: Path | None = None, report: Path | None = None, jobs: int = 0, strict: bool = False
) -> None:
    """Reads all data and reports problems. Exit code 1 if there are errors, else 0.

    Args:
        json: write the findings to this file too
        report: write a page with figures to this file, such as data.html
        jobs: processes that read media files; 0 = one per core
        strict: exit code 1 if there are warnings, too
    """
    from sparsefuse.checks import check
    from sparsefuse.data.check import show
    from sparsefuse.files.whole import write_json
    from sparsefuse.report.check_page import write_page

    if report and report.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"report is {report}, expected a file name such as {report.stem}.html")
    findings = check(config, jobs=jobs)
    show(findings)
    if json:
        write_json(json, findings.to_json())
    if report:
        print(write_page(findings, report))
    if findings.counts["error"] or (strict and findings.counts["warning"]):
        raise SystemExit(1)


def export_features(config: Config, out: Path, format: Literal["npz", "hf"] = "npz") -> None:
    """Writes features and labels as numpy or Hugging Face files.

    Args:
        out: folder to write; it must be new or empty
        format: npz = one file per split, and a manifest for training; hf = for datasets.load_from_disk
    """
    from sparsefuse.checks import check_config
    from sparsefuse.data.bundle import export_features

    check_config(config)
    bundle = export_features(config.data, Path(), out, format)
    counts = ", ".join(f"{split} {len(rows)}" for split, rows in bundle.rows.items())
    print(f"{counts} clips, {len(bundle.skips)} skipped -> {out}")
    if bundle.skips:
        print(f"skipped: see {out / 'skipped.jsonl'}; the first is {bundle.skips[0].id}: {bundle.skips[0].reason}")
