"""Verbs that use a trained model."""

from pathlib import Path
from typing import Any, Literal

from sparsefuse.serve.limits import ServeLimits


def predict(
    run: Path,
    files: list[Path],
    top: int = 3,
    json: bool = False,
    window: float | None = None,
    hop: float | None = None,
    out: Path | None = None,
    offline: bool = False,
    roots: list[Path] = [],  # noqa: B006
    device: str = "auto",
    trust_code: bool = False,
) -> None:
    """Predicts the labels of files, or of a manifest's clips. Exit code 1 if a file could not be read.

    Prints a table on a terminal, plain lines into a pipe or a file. A run on pictures writes a picture per scene, too;
    one on clouds a file of boxes and a picture.

    Args:
        run: the run folder of the model
        files: media, sensor or feature files, folders of them, manifests, or - for standard input: a path or
            {"sound": path} a line. Of a run on pictures: manifests, folders with rgb/, depth/ ..., or {"rgb": path} a
            line. Of a run on clouds: manifests, or folders with cloud/ and cameras/. One clip or scene of several
            files: --rgb a.png --depth b.png, called as the streams are; rgb=a.png depth=b.png is the same
        top: how many classes, or boxes, to print
        json: print one JSON object a line
        window: seconds; long recordings are predicted window by window, as a timeline
        hop: seconds from window to window; half a window if not given
        out: folder of the label pictures, or pictures, of a run on pictures, or of boxes; <run>/predicted by default.
            Pictures that are there already are not computed again. Of a run on clips: folder of the features that the
            model read, CLIP-MODALITY.npy, as an exported file takes them; not written by default
        offline: fetch no model, and read only files in the folder of the manifest that names them (for a line of
            standard input, the current folder), in the run and in --roots
        roots: other folders that may be read with --offline
        device: cpu, cuda, cuda:1 ...; auto = cuda if there is one, else cpu
        trust_code: allow a run whose method or extractor is a .py file
    """
    from sparsefuse.inference.show import show_any
    from sparsefuse.media.fetch import allowed_roots

    how: dict[str, Any] = {"window": window, "hop": hop, "out": out, "device": device, "trust_code": trust_code}
    if show_any(run, files, top=top, as_json=json, roots=allowed_roots(offline, roots), **how):
        raise SystemExit(1)


def export(
    run: Path,
    format: Literal["onnx", "pt2"] = "onnx",
    int8: bool = False,
    with_features: bool = False,
    out: Path | None = None,
    tolerance: float = 1e-4,
    manifest: Path | None = None,
    test: bool = False,
    force: bool = False,
    trust_code: bool = False,
) -> None:
    """Writes a model as a file that runs without this library. Checks it against the run, and writes a card beside it.

    Args:
        run: the run folder of the model
        format: onnx = for onnxruntime, on a phone or in a browser too; pt2 = for torch.export.load
        int8: weights as 8-bit integers (ONNX only)
        with_features: include the extractor spectrogram, so that the model's input is sound
        out: the file; <run>/export/model.<format> by default. The card is beside it, as .json and .md
        tolerance: largest allowed difference of a logit from the trained model's
        manifest: clips or scenes to check the file on; the run's validation split if not given
        test: check the file on the run's test split too
        force: write the file even if it differs from the trained model; the card says so
        trust_code: allow a run whose method or extractor is a .py file
    """
    from sparsefuse.export.artefact import export

    what: dict[str, Any] = {"format": format, "int8": int8, "with_features": with_features}
    how: dict[str, Any] = {"tolerance": tolerance, "manifest": manifest, "test": test, "force": force}
    print(export(run, out=out, **what, **how, trust_code=trust_code))


def explain(
    run: Path,
    clip: Path | None = None,
    manifest: Path | None = None,
    id: str | None = None,
    out: Path | None = None,
    png: Path | None = None,
    device: str = "auto",
    trust_code: bool = False,
) -> None:
    """Shows what a model looked at in a clip, as one HTML page. Attention rollout, and the effect of masking parts.

    Args:
        run: the run folder of the model
        clip: a media file
        manifest: in place of a media file, a CSV or JSONL manifest that names the clip's files
        id: which clip of the manifest
        out: the page; <run>/explain/<clip>.html by default
        png: write the figure alone to this file too
        device: cpu, cuda, cuda:1 ...; auto = cuda if there is one, else cpu
        trust_code: allow a run whose method or extractor is a .py file
    """
    from sparsefuse.explain.page import explain_clip, page_name, write_page, write_picture

    explained = explain_clip(run, clip, manifest=manifest, id=id, device=device, trust_code=trust_code)
    shares = (f"{name} {100 * share:.0f} %" for name, share in explained.explanation.shares.items())
    print(f"{explained.explanation.prediction.label}  (attention: {', '.join(shares)})")
    print(explained.sentence())
    if png:
        print(write_picture(explained, png))
    print(write_page(explained, out or run / "explain" / page_name(explained)))


def serve(
    run: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    max_mb: float = ServeLimits.max_mb,
    max_seconds: float = ServeLimits.max_seconds,
    concurrency: int = ServeLimits.concurrency,
    timeout: float = ServeLimits.timeout,
    batch: int = ServeLimits.batch,
    wait_ms: float = ServeLimits.wait_ms,
    no_page: bool = False,
    host_name: list[str] = [],  # noqa: B006
    allow_origin: list[str] = [],  # noqa: B006
    behind_proxy: bool = False,
    base_path: str = "",
    open: bool = False,
    allow_urls: bool = False,
    device: str = "auto",
    trust_code: bool = False,
) -> None:
    """Serves a model over HTTP, with a web page. POST /predict takes clips, / is the page. Ctrl-C ends it.

    Clients on other machines need the token in the environment variable SPARSEFUSE_TOKEN, unless --open.

    Args:
        run: the run folder of the model
        host: the address to listen on; 127.0.0.1 = reachable from this machine only, 0.0.0.0 = from others too
        port: the port to listen on; 0 = any that is free
        max_mb: largest request, in MB
        max_seconds: longest media file, in seconds
        concurrency: clips processed at a time; four times as many may wait, more get status 503
        timeout: seconds from the first byte of a request to its answer
        batch: largest batch of the model, in clips
        wait_ms: milliseconds for which the first clip of a batch waits for others
        no_page: leave out the web page
        host_name: names by which clients may reach it, besides localhost and its address
        allow_origin: origins of other web pages that may call it, such as https://example.org
        behind_proxy: trust X-Forwarded-For, -Host, -Proto and -Prefix, which a proxy in front sets
        base_path: path under which a proxy shows it, such as /models/birds
        open: let other machines in without a token
        allow_urls: let extractors download their models from the hub; without it they must be in the cache
        device: where batches are predicted: cpu, cuda, cuda:1 ...; auto = cuda if there is one, else cpu
        trust_code: allow a run whose method or extractor is a .py file
    """
    import os

    from sparsefuse.media.fetch import hub_offline
    from sparsefuse.serve.access import TOKEN, Access
    from sparsefuse.serve.server import serve as serve_run

    if not allow_urls:
        hub_offline()
    limits = ServeLimits(max_mb, max_seconds, concurrency, timeout, batch, wait_ms)
    token = os.environ.pop(TOKEN, "")  # processes that decode files of strangers need not know it
    access = Access(tuple(host_name), tuple(allow_origin), behind_proxy, base_path.rstrip("/"), token)
    where: dict[str, Any] = {"host": host, "port": port, "page": not no_page, "device": device}
    serve_run(run, limits=limits, access=access, open_to_all=open, trust_code=trust_code, **where)


def env() -> None:
    """Prints versions, devices, backends and extras. For what is not available, why or how to get it."""
    from sparsefuse.environment import environment

    for name, text in environment().items():
        print(f"{name:>14}  {text}")
