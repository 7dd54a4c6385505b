"""The page: what a person drops, sees and is told in a real browser, and what anyone may send by hand."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import served
from browser import CHROMIUM, Browser

from sparsefuse.serve.access import Access
from sparsefuse.serve.limits import ServeLimits
from sparsefuse.serve.refusal import Refusal
from sparsefuse.serve.service import Service

pytestmark = pytest.mark.slow  # a browser takes its time
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


class Served:
    """A server with its page."""

    def __init__(self, client: httpx.Client, service: Service, clip: Path) -> None:
        self.client, self.service, self.clip = client, service, clip
        self.url = f"{client.base_url}/"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("page")
    run, clip = served.make_run(folder), served.make_clip(folder / "clip.mp4", seconds=2)
    (folder / "own").mkdir()
    service = Service(run, ServeLimits(max_mb=5), folder / "own", trust_code=True)
    with served.listening(service, page=True) as client:
        yield Served(client, service, clip)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as browser:
        yield browser


@needs_chromium
def test_a_dropped_clip_gets_its_answer_shares_and_picture(server: Served, browser: Browser, tmp_path: Path) -> None:
    browser.open(server.url)
    browser.wait("document.querySelector('.empty')")
    browser.choose("#field-file", server.clip)
    browser.wait("document.querySelector('.scroll svg')", 60)
    label = browser.run("document.querySelector('.best').innerText")
    bars = browser.run("[...document.querySelectorAll('.number')].map(e => e.innerText)")
    shares = [float(text.split()[0].rstrip("%\u2009")) for text in bars]
    assert label in "abc"
    assert sum(shares) == pytest.approx(100, abs=0.3)
    assert shares == sorted(shares, reverse=True)
    assert {"rgb", "sound"} <= set(browser.run("document.querySelector('.legend').innerText").split())
    assert browser.run("document.querySelectorAll('.scroll image').length") >= 2  # frames, spectrogram
    assert browser.run("document.querySelector('.scroll svg').getBoundingClientRect().height") > 300
    browser.shoot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000
    # on a phone nothing sticks out
    browser.resize(390, 800)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    elsewhere = [url for url in browser.asked() if not url.startswith((server.url, "data:", "blob:"))]
    assert elsewhere == []


@needs_chromium
def test_a_broken_file_shows_why_and_the_next_one_works(server: Served, browser: Browser, tmp_path: Path) -> None:
    broken = tmp_path / "letter.mp4"
    broken.write_text("Dear all, this is no film. <b>Yours</b>")
    browser.open(server.url)
    browser.choose("#field-file", broken)
    browser.wait("document.querySelector('#problem h2')")
    said = browser.run("document.querySelector('#problem').innerText")
    assert "This clip cannot be used" in said
    assert "letter.mp4: cannot be decoded" in said
    assert "Traceback" not in browser.text()
    assert str(server.service.folder) not in browser.text()
    browser.open(server.url)
    browser.choose("#field-file", server.clip)
    browser.wait("document.querySelector('.best')")


@needs_chromium
def test_the_old_answer_goes_when_a_clip_comes_and_what_cannot_be_played_says_so(
    server: Served, browser: Browser, tmp_path: Path
) -> None:
    browser.open(server.url)
    browser.wait("document.querySelector('.empty')")
    browser.choose("#field-file", server.clip)
    browser.wait("document.querySelector('.scroll svg')", 60)
    browser.wait("document.querySelector('#preview').readyState > 0")
    assert browser.run("document.querySelector('#unplayable').hidden")
    letter = tmp_path / "letter.mp4"
    letter.write_text("Dear all, this is no film.")
    browser.run("window.fetched = XMLHttpRequest.prototype.send; XMLHttpRequest.prototype.send = () => {}")
    browser.choose("#field-file", letter)  # its answer never comes
    assert browser.run("document.querySelector('#answer').innerText") == ""
    browser.wait("!document.querySelector('#unplayable').hidden && document.querySelector('#preview').hidden")
    browser.run("XMLHttpRequest.prototype.send = window.fetched")
    browser.choose("#field-file", server.clip)
    browser.wait("document.querySelector('.best')", 60)
    assert browser.run("document.querySelector('#unplayable').hidden && !document.querySelector('#preview').hidden")
    browser.run("document.querySelector('#field-file').value = ''; document.querySelector('#clip').requestSubmit()")
    browser.wait("document.querySelector('#problem h2')")
    assert browser.run("document.querySelector('#answer').innerText") == "", "nor when there is none"


@needs_chromium
def test_the_camera_records_a_clip(server: Served, browser: Browser) -> None:
    """Chromium's camera shows a moving test picture and beeps."""
    browser.open(server.url)
    browser.wait("document.querySelector('#record')?.checkVisibility()")
    browser.run("document.querySelector('#record').click()")
    browser.wait("document.querySelector('#record').innerText == 'Stop'")
    time.sleep(3)
    browser.run("document.querySelector('#record').click()")
    browser.wait("document.querySelector('.best') || document.querySelector('#problem h2')")
    assert browser.run("document.querySelector('.best')?.innerText") in ("a", "b", "c"), browser.text()


@needs_chromium
def test_a_file_for_each_modality_and_a_token(server: Served, browser: Browser, tmp_path: Path) -> None:
    for name, x in served.features().items():
        (tmp_path / f"{name}.npy").write_bytes(served.npy(x))
    (tmp_path / "own").mkdir()
    service = Service(server.clip.parent / "run", ServeLimits(), tmp_path / "own", trust_code=True)
    refused, entered = "wrong').innerText == 'This is not the token.'", "clip').checkVisibility()"
    with served.listening(service, Access(token="secret"), page=True) as client:
        browser.open(f"{client.base_url}/")
        for given, done in (("wrong", refused), ("secret", entered)):
            browser.wait("document.getElementById('token')?.checkVisibility()")
            browser.run(f"document.getElementById('token').value = '{given}'")
            browser.run("document.getElementById('enter').requestSubmit()")
            browser.wait(f"document.getElementById('{done}")
        browser.run("document.querySelector('#fields summary').click()")
        for name in ("rgb", "sound"):
            browser.choose(f"#field-{name}", tmp_path / f"{name}.npy")
        browser.run("document.getElementById('send').click()")
        browser.wait("document.querySelector('.scroll svg')")
        assert browser.run("document.querySelector('.note')") is None


@needs_chromium
def test_names_of_strangers_stay_text(server: Served, browser: Browser, tmp_path: Path) -> None:
    evil = tmp_path / "<img src=x onerror=alert(1)>.mp4"
    evil.write_bytes(b"no film")
    browser.open(server.url)
    browser.choose("#field-file", evil)
    browser.wait("document.querySelector('#problem h2')")
    assert "<img src=x onerror=alert(1)>.mp4" in browser.text()
    assert browser.run("document.querySelectorAll('img').length") == 0


def test_the_page_needs_nothing_but_its_own_three_files(server: Served) -> None:
    page = server.client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<style" not in page.text
    assert "style=" not in page.text
    assert "http" not in page.text
    for path, kind in {"/page.js": "text/javascript", "/page.css": "text/css"}.items():
        found = server.client.get(path)
        assert (found.status_code, found.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
        assert f'"{path[1:]}"' in page.text
        assert "http:" not in found.text
        assert "https:" not in found.text
        assert "innerHTML" not in found.text


def explain(server: Served, **files: tuple[str, bytes]) -> tuple[int, list[dict[str, Any]]]:
    found = server.client.post("/explain", files=files)
    return found.status_code, [json.loads(line) for line in found.text.splitlines()]


def test_an_explanation_follows_the_prediction(server: Served) -> None:
    clip = ("a.mp4", server.clip.read_bytes())
    status, (answer, explained) = explain(server, file=clip)
    assert status == 200
    assert answer["probabilities"] == server.client.post("/predict", files={"file": clip}).json()["probabilities"]
    assert sum(explained["shares"].values()) == pytest.approx(1)
    assert explained["shares"].keys() == {"rgb", "sound"}
    assert explained["figure"].startswith("<svg")
    for not_allowed in ("style=", "<style", "<script", 'id="DejaVu'):
        assert not_allowed not in explained["figure"]
    assert 'fill="var(--' in explained["figure"]


def test_an_explanation_that_fails_leaves_the_prediction(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise Refusal(422, "no")

    monkeypatch.setattr(server.service, "explain", fail)
    status, (answer, explained) = explain(server, file=("a.mp4", server.clip.read_bytes()))
    assert (status, answer["label"] in "abc", explained) == (200, True, {"error": "no"})


def test_a_clip_that_cannot_be_used_is_refused_before_any_line(server: Served) -> None:
    status, (answer,) = explain(server, file=("a.mp4", b"no film"))
    assert (status, list(answer)) == (422, ["error"])


NAMED = [
    "{clip}",
    "file://{clip}",
    "http://127.0.0.1:1/a.mp4",
    "/etc/passwd",
    "../../../../../../../..{clip}",
    "{link}",
]


@pytest.mark.parametrize("path", ["/predict", "/explain"])
@pytest.mark.parametrize("named", NAMED)
def test_no_field_of_a_request_names_a_file_that_is_read(server: Served, path: str, named: str, tmp_path: Path) -> None:
    """A path is only what the client calls it: what is read is what it sent."""
    link = server.service.folder / f"{tmp_path.name}.mp4"
    link.symlink_to(server.clip)
    named = named.format(clip=server.clip, link=link)
    stranger = {
        "path": named,
        "orig_name": "a.mp4",
        "is_stream": True,
        "url": named,
        "meta": {"_type": "gradio.FileData"},
    }
    kind = "multipart/form-data; boundary=b"

    def form(name: str, more: str, content: str) -> bytes:
        return f"--b\r\ncontent-disposition: form-data; {name}{more}\r\n\r\n{content}\r\n--b--\r\n".encode()

    requests: list[dict[str, Any]] = [
        *({"json": {"features": value}} for value in (stranger, [stranger], named, {"rgb": stranger}, {"rgb": named})),
        *({"json": value} for value in (stranger, {"data": [stranger], "fn_index": 0}, [named], named)),
        *({"content": form("name=file", more, named), "headers": {"content-type": kind}} for more in (
            "", f'; filename="{named}"', f"; filename*=utf-8\'\'{named}", '; filename="a.mp4"', '; filename="a.npy"',
        )),
        {"content": form(f'name="{named}"', '; filename="a.mp4"', "x"), "headers": {"content-type": kind}},
        {"content": form("name=rgb", '; filename="a.npy"', json.dumps(stranger)), "headers": {"content-type": kind}},
        {"params": stranger | {"meta": ""}},
        {"data": {"file": named}},
        {"headers": {"referer": named, "cookie": named, "x-forwarded-prefix": named, "x-original-url": named}},
    ]  # fmt: skip
    for request in requests:
        found = server.client.post(path, **request)
        assert 400 <= found.status_code < 500, request
        assert list(found.json()) == ["error"]
        assert "root:" not in found.text
    link.unlink()
    assert list(server.service.folder.iterdir()) == []


def test_the_framework_s_routes_are_gone(server: Served) -> None:
    for path in ("/config", "/gradio_api/queue/join", "/gradio_api/upload", f"/gradio_api/file={server.clip}", "/docs"):
        for method in ("GET", "POST"):
            assert server.client.request(method, path, json={}).status_code == 404, path


def test_an_upload_over_the_limit_is_refused(server: Served) -> None:
    assert server.client.post("/explain", content="x" * 5_100_000).status_code == 413
