"""The page in a real browser: what a person drops, sees, and is told."""

import http.client
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import served
from browser import CHROMIUM, Browser
from test_server import own_folders, running

pytest.importorskip("gradio")
pytestmark = pytest.mark.slow
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


class Served:
    """A server with its page."""

    def __init__(self, port: int, folder: Path, clip: Path) -> None:
        self.port, self.folder, self.clip = port, folder, clip
        self.url = f"http://127.0.0.1:{port}/"

    def get(self, path: str) -> tuple[int, str]:
        return self.send("GET", path)

    def send(self, method: str, path: str, body: str = "") -> tuple[int, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, body or None, {"content-type": "application/json"} if body else {})
            found = connection.getresponse()
            return found.status, found.read().decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("page")
    run, clip = served.make_run(folder), served.make_clip(folder / "clip.mp4", seconds=2)
    with running(run, "--trust-code", "--max-mb", "5") as (process, port, _):
        (own,) = own_folders(process)
        yield Served(port, own, clip)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as browser:
        yield browser


@needs_chromium
def test_a_dropped_clip_gets_its_answer_shares_and_picture(server: Served, browser: Browser, tmp_path: Path) -> None:
    browser.open(server.url)
    browser.wait("document.querySelector('.sf-empty')")
    browser.choose("#sf-clip input[type=file]", server.clip)
    browser.wait("document.querySelector('.sf-answer figure svg')", 60)
    label = browser.run("document.querySelector('.sf-label').innerText")
    bars = browser.run("[...document.querySelectorAll('.sf-number')].map(e => e.innerText)")
    shares = [float(text.split()[0].rstrip("%\u2009")) for text in bars]
    assert label in "abc"
    assert sum(shares) == pytest.approx(100, abs=0.3)
    assert shares == sorted(shares, reverse=True)
    assert {"rgb", "sound"} <= set(browser.run("document.querySelector('.sf-legend').innerText").split())
    assert browser.run("document.querySelectorAll('.sf-answer figure svg image').length") >= 2  # frames, spectrogram
    assert browser.run("document.querySelector('figure svg').getBoundingClientRect().height") > 300
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
    browser.choose("#sf-clip input[type=file]", broken)
    browser.wait("document.querySelector('.sf-problem')")
    said = browser.run("document.querySelector('.sf-problem').innerText")
    assert "This clip cannot be used" in said
    assert "letter.mp4: cannot be decoded" in said
    assert "Traceback" not in browser.text()
    assert str(server.folder) not in browser.text()
    browser.open(server.url)
    browser.choose("#sf-clip input[type=file]", server.clip)
    browser.wait("document.querySelector('.sf-label')")


@needs_chromium
def test_the_camera_records_a_clip(server: Served, browser: Browser) -> None:
    """Chromium's camera shows a moving test picture and beeps."""
    browser.open(server.url)
    steps = [('[aria-label="Capture from camera"]', 0), ('[title="grant webcam access"] button', 1)]
    for button, pause in (*steps, (".capture-button", 8), (".capture-button", 0)):  # record, stop
        found = f"document.querySelector('#sf-clip {button}')"
        browser.wait(found)
        browser.run(f"{found}.click()")
        time.sleep(pause)
    browser.wait("document.querySelector('.sf-label') || document.querySelector('.sf-problem')")
    assert browser.run("document.querySelector('.sf-label')?.innerText") in ("a", "b", "c"), browser.text()


def test_no_file_but_an_upload_is_served(server: Served, tmp_path: Path) -> None:
    shutil.copy(server.clip, tmp_path / "secret.mp4")
    for path in (
        "/etc/passwd",
        f"{tmp_path}/secret.mp4",
        f"{server.folder}/page/../../../etc/passwd",
        "/proc/self/environ",
    ):
        status, text = server.get(f"/gradio_api/file={path}")
        assert (status, "root:" in text) == (404, False), path
    for path in (
        "/gradio_api/file=http://127.0.0.1:1/",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/monitoring",
        "/docs",
    ):
        assert server.get(path)[0] == 404, path


def by_hand(server: Served, file: object, *, session: str) -> list[str]:
    """What each endpoint of gradio's queue answers to a request that no page of ours would send."""
    answers = []
    for dependency in json.loads(server.get("/config")[1])["dependencies"]:
        name = f"{session}-{dependency['id']}"
        data = [file for _ in dependency["inputs"]]
        body = json.dumps({"data": data, "fn_index": dependency["id"], "session_hash": name})
        assert server.send("POST", "/gradio_api/queue/join", body)[0] == 200
        answers.append(server.get(f"/gradio_api/queue/data?session_hash={name}")[1])
    return answers


@pytest.mark.parametrize("more", [{}, {"is_stream": True}, {"is_stream": True, "url": "http://127.0.0.1:1/a.mp4"}])
@pytest.mark.parametrize("form", [lambda file: file, lambda file: [file], lambda file: {"video": file, "value": file}])
def test_the_page_reads_no_file_that_was_not_uploaded(server: Served, form, more: dict, tmp_path: Path) -> None:
    """Whoever speaks to gradio's queue by hand may name any path or address, and set any field beside it."""
    inside, outside = server.folder / "page" / f"link-{len(more)}.mp4", tmp_path / "secret.mp4"
    shutil.copy(server.clip, outside)
    inside.parent.mkdir(exist_ok=True)
    inside.unlink(missing_ok=True)
    inside.symlink_to(outside)
    dots = f"{inside.parent}/../../../../../../..{server.clip}"
    for number, path in enumerate((str(server.clip), str(inside), dots, "http://127.0.0.1:1/a.mp4", "/etc/passwd")):
        file = {"path": path, "orig_name": "a.mp4", "meta": {"_type": "gradio.FileData"}, **more}
        for answer in by_hand(server, form(file), session=f"{tmp_path.name}-{number}"):
            assert '"success":false' in answer, answer
            assert "sf-label" not in answer
            assert "sf-problem" not in answer  # nor what reading it came to
            assert "root:" not in answer


def test_a_file_that_was_uploaded_is_read_by_hand_too(server: Served) -> None:
    """So the test above fails for the path, not for its form."""
    content = server.clip.read_bytes()
    form = b'--b\r\ncontent-disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n' + content + b"\r\n--b--\r\n"
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request("POST", "/gradio_api/upload", form, {"content-type": "multipart/form-data; boundary=b"})
        (path,) = json.loads(connection.getresponse().read())
    file = {"path": path, "orig_name": "a.mp4", "meta": {"_type": "gradio.FileData"}}
    (answer,) = by_hand(server, file, session="uploaded")
    assert "sf-label" in answer


def test_an_upload_over_the_limit_is_refused(server: Served) -> None:
    assert server.send("POST", "/gradio_api/upload", "x" * 5_100_000)[0] == 413
