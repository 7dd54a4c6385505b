"""Verbs that put a trained model to use."""

from pathlib import Path

from sparsefuse.serve.limits import Limits


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


def serve(
    run: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    max_mb: float = Limits.max_mb,
    max_seconds: float = Limits.max_seconds,
    concurrency: int = Limits.concurrency,
    timeout: float = Limits.timeout,
    batch: int = Limits.batch,
    wait_ms: float = Limits.wait_ms,
    no_page: bool = False,
    trust_code: bool = False,
) -> None:
    """Answers over HTTP: POST /predict takes clips, / is a web page for people. Ctrl-C ends it.

    Args:
        run: the run folder of the model
        host: the address to listen on; others than this machine reach it only if you name one of its own, or 0.0.0.0
        port: the port to listen on; 0 = any that is free
        max_mb: largest request, in MB
        max_seconds: longest media file, in seconds
        concurrency: clips that are worked on at a time; four times as many may wait, more get status 503
        timeout: seconds from the first byte of a request to its answer
        batch: clips that go through the model together, at most
        wait_ms: milliseconds for which the first clip of a batch waits for others
        no_page: leave out the web page (and gradio)
        trust_code: allow a run whose method or extractor is a .py file
    """
    from sparsefuse.serve.server import serve as serve_run

    limits = Limits(max_mb, max_seconds, concurrency, timeout, batch, wait_ms)
    serve_run(run, host=host, port=port, limits=limits, page=not no_page, trust_code=trust_code)
