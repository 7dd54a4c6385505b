"""Verbs that put a trained model to use."""

from pathlib import Path


def predict(run: Path, files: list[Path], top: int = 3, json: bool = False, trust_code: bool = False) -> None:
    """Predicts the label of media files, or of all clips in a manifest. Exit code 1 if a file could not be read.

    Args:
        run: the run folder of the model
        files: media files, or a CSV or JSONL manifest of clips
        top: how many classes to print
        json: print one JSON object a line
        trust_code: allow a run whose method or extractor is a .py file
    """
    from sparsefuse.predictions import show

    if show(run, files, top=top, as_json=json, trust_code=trust_code):
        raise SystemExit(1)


def explain(
    run: Path,
    clip: Path | None = None,
    manifest: Path | None = None,
    id: str | None = None,
    out: Path | None = None,
    png: Path | None = None,
    trust_code: bool = False,
) -> None:
    """Shows what a model looked at in a clip, and what it could not do without, as one HTML page.

    Args:
        run: the run folder of the model
        clip: a media file
        manifest: in place of a media file, a CSV or JSONL manifest that names the clip's files
        id: which clip of the manifest
        out: the page; <run>/explain/<clip>.html by default
        png: write the figure alone to this file too
        trust_code: allow a run whose method or extractor is a .py file
    """
    from sparsefuse.explain.page import explain_clip, page_name, write_page, write_picture

    found = explain_clip(run, clip, manifest=manifest, id=id, trust_code=trust_code)
    print(found.found.prediction.label, *(f"{name} {share:.2f}" for name, share in found.found.shares.items()))
    if png:
        print(write_picture(found, png))
    print(write_page(found, out or run / "explain" / page_name(found)))
