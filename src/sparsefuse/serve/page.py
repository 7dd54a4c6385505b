"""The web page at /, made with gradio: drop a clip, see the prediction and its explanation."""

import os
import time
from collections.abc import AsyncIterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsefuse.report.page import render
from sparsefuse.serve.card import ServerCard
from sparsefuse.serve.refusal import Refusal
from sparsefuse.serve.service import Answer, Service
from sparsefuse.serve.upload import FILE, Received, shown, suffix_of
from sparsefuse.serve.uploads import Uploads

if TYPE_CHECKING:
    from fastapi import FastAPI

MOST_CLASSES = 8
_HERE = Path(__file__).parent


def mount(app: "FastAPI", service: Service, uploads: Uploads, url: str) -> None:
    """Adds the page to the application, which is reached at `url`. Raises ImportError without the extra `serve`."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(uploads.folder)
    try:
        import gradio
    except ImportError as error:
        raise ImportError("the page needs gradio: pip install 'sparsefuse[serve]', or --no-page") from error
    if find_spec("matplotlib") is None:
        raise ImportError("the page's figures need matplotlib: pip install 'sparsefuse[report]', or --no-page")
    limits = service.limits
    title = f"{service.card.name}: sparsefuse"
    with gradio.Blocks(title=title, analytics_enabled=False, fill_width=True) as blocks:
        _build(gradio, service, uploads, url)
    blocks.queue(default_concurrency_limit=limits.concurrency, max_size=limits.places, api_open=False)
    gradio.mount_gradio_app(
        app,
        blocks,
        path="/",
        theme=_theme(gradio),
        head=f"<style>{_style()}</style>",
        footer_links=[],
        run_history=False,
        show_error=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        max_file_size=limits.max_bytes,
    )


def _build(gradio: Any, service: Service, uploads: Uploads, url: str) -> None:
    card = service.card
    gradio.HTML(render("serve/head.html.j2", card=card, limits=service.limits), elem_id="sf-head", padding=False)
    with gradio.Row(elem_id="sf-main", equal_height=False):
        with gradio.Column(scale=5, min_width=300):
            inputs = _inputs(gradio, card)
        with gradio.Column(scale=7, min_width=300):
            answer = gradio.HTML(_answer(card), elem_id="sf-answer", padding=False)
    gradio.HTML(
        render("serve/foot.html.j2", card=card, limits=service.limits, url=url), elem_id="sf-foot", padding=False
    )
    for component in inputs.values():
        _accept_only_uploads(component, uploads)
    fields = list(inputs)

    async def show(*paths: str | None) -> AsyncIterator[str]:
        paths_by_field = {field: Path(path) for field, path in zip(fields, paths, strict=True) if path}
        async for html in _shown(service, paths_by_field):
            yield html

    gradio.on(
        [component.change for component in inputs.values()],
        show,
        inputs=list(inputs.values()),
        outputs=answer,
        show_progress="hidden",
        trigger_mode="always_last",
        api_visibility="private",
    )


def _inputs(gradio: Any, card: ServerCard) -> Mapping[str, Any]:
    """Field -> the component that fills it: one for media, or one for each modality whose features are uploaded."""
    inputs: dict[str, Any] = {}
    if "video" in card.sources:
        inputs[FILE] = gradio.Video(label="Clip", sources=["upload", "webcam"], include_audio=True, elem_id="sf-clip")
    elif card.sources == {"audio"}:
        inputs[FILE] = gradio.Audio(label="Clip", sources=["upload", "microphone"], type="filepath", elem_id="sf-clip")
    elif card.sources:
        inputs[FILE] = gradio.File(label="Clip", type="filepath", elem_id="sf-clip")
    if not inputs:
        for name in card.ready_made:
            width = card.modalities[name].width
            inputs[name] = gradio.File(
                label=f"{name}: .npy of (N, {width})", type="filepath", file_types=[".npy"], height=140
            )
    return inputs


def _accept_only_uploads(component: Any, uploads: Uploads) -> None:
    """Restricts a component to uploaded files: the paths that gradio passes on come from the client.

    Gradio calls the first of these before it copies or fetches a file, except one that the client calls a stream; it
    calls the second for all, before its own code opens them.
    """

    def check(path: str | Path) -> None:
        if not uploads.holds(str(path)):
            raise ValueError("this is not an uploaded file")

    async def keep_in_place(path: str | Path | None) -> str | None:
        if path is None:
            return None
        check(path)
        return str(path)

    preprocess = component.preprocess

    def preprocess_upload(payload: Any) -> Any:
        for file in getattr(payload, "root", [payload]):  # a list of files, or one
            if file is not None:
                check(file.path)
        return preprocess(payload)

    component.async_move_resource_to_block_cache = keep_in_place
    component.preprocess = preprocess_upload


async def _shown(service: Service, paths: dict[str, Path]) -> AsyncIterator[str]:
    """The answer part of the page: progress, the prediction, its explanation; or the reason for an error."""
    card = service.card
    if not paths:
        yield _answer(card)
        return
    yield _answer(card, step="Reading the clip")
    answer = None
    try:
        with service.place() as folder:
            files = [_taken(field, path, folder, i) for i, (field, path) in enumerate(paths.items())]
            answer = await service.predict(files, time.monotonic(), service.deadline())
            yield _answer(card, answer, step="Computing the explanation")
            explained = await service.explain(files, service.deadline())
    except Refusal as refusal:
        yield _answer(card, answer, problem=refusal.reason)
        return
    yield _answer(card, answer, explained=explained)


def _taken(field: str, path: Path, folder: Path, index: int) -> Received:
    """The uploaded file under a generated name."""
    own = folder / f"{index}{suffix_of(path.name)}"
    try:
        os.link(path, own, follow_symlinks=False)
    except FileNotFoundError:
        raise Refusal(422, "the file was deleted; upload it again") from None
    if own.stat().st_size == 0:
        raise Refusal(422, f"{shown(path.name)}: is empty (0 bytes)")
    return Received(field, own, shown(path.name))


def _answer(card: ServerCard, answer: Answer | None = None, **more: Any) -> str:
    ranked = sorted(answer.probabilities.items(), key=lambda item: -item[1]) if answer else []
    parts = {"step": "", "problem": "", "explained": None, **more}
    return render("serve/answer.html.j2", card=card, answer=answer, ranked=ranked[:MOST_CLASSES],
                  rest=ranked[MOST_CLASSES:], **parts)  # fmt: skip


def _theme(gradio: Any) -> Any:
    """One accent colour; system fonts, since names as plain text would be requested from the server."""
    accent = gradio.themes.Color(
        c50="#eef4fb", c100="#d9e6f5", c200="#b6cfea", c300="#8cb2dd", c400="#5f93cd", c500="#3d78bb",
        c600="#2b62a8", c700="#234f89", c800="#1d406f", c900="#183559", c950="#0f223a",
    )  # fmt: skip
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
    return gradio.themes.Base(
        primary_hue=accent,
        secondary_hue=accent,
        neutral_hue="zinc",
        font=[gradio.themes.Font(name) for name in fonts],
        font_mono=[gradio.themes.Font(name) for name in ("ui-monospace", "Menlo", "Consolas", "monospace")],
    )


def _style() -> str:
    """The report's colours, which figures use, and the page's own rules."""
    colours = (_HERE.parent / "report" / "style.css").read_text(encoding="utf-8").split("* { box-sizing")[0]
    return colours + (_HERE / "page.css").read_text(encoding="utf-8")
