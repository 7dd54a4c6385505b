"""The whole server: clips in, labels out, and for all else a reason."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import served

import tiny
from sparsefuse.inference.predictor import Predictor, load
from sparsefuse.serve.limits import ServeLimits
from sparsefuse.serve.service import Service
from sparsefuse.training import multiclip

LIMITS = ServeLimits(max_mb=2, max_seconds=3, concurrency=1, timeout=30, batch=4, wait_ms=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.make_run(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def clip(run: Path) -> bytes:
    return served.make_clip(run.parent / "clip.mp4").read_bytes()


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return load(run, trust_code=True)


@pytest.fixture(scope="module")
def service(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service(run, LIMITS, tmp_path_factory.mktemp("folder"), trust_code=True)


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with served.listening(service) as client:
        yield client


def send(client: httpx.Client, **files: tuple[str, bytes]) -> tuple[int, dict[str, Any]]:
    found = client.post("/predict", files=files)
    return found.status_code, found.json()


def reason(client: httpx.Client, status: int, **files: tuple[str, bytes]) -> str:
    found, answer = send(client, **files)
    assert (found, list(answer)) == (status, ["error"]), answer
    return answer["error"]


def same(answer: tuple[int, dict[str, Any]], predictor: Predictor, clip: Any) -> None:
    alone = predictor.predict_one(clip)
    assert answer[0] == 200, answer
    assert answer[1]["label"] == alone.label
    assert answer[1]["probabilities"] == pytest.approx(alone.probabilities, abs=1e-5)
    assert answer[1]["missing"].keys() == alone.missing.keys()


def test_a_media_file_gets_the_predictors_answer(client: httpx.Client, predictor: Predictor, run: Path, clip) -> None:
    file = run.parent / "clip.mp4"
    same(send(client, file=("clip.mp4", clip)), predictor, file)
    same(send(client, video=("clip.mp4", clip), audio=("b.mp4", clip)), predictor, {"video": file, "audio": file})


def test_features_get_the_predictors_answer(client: httpx.Client, predictor: Predictor) -> None:
    given = served.features()
    same(send(client, **{name: (f"{name}.npy", served.npy(x)) for name, x in given.items()}), predictor, given)
    found = client.post("/predict", json={"features": {name: x.tolist() for name, x in given.items()}})
    same((found.status_code, found.json()), predictor, given)


def test_a_modality_that_the_clip_lacks_is_named(client: httpx.Client, predictor: Predictor, run: Path) -> None:
    silent = served.make_clip(run.parent / "silent.mp4", sound=False)
    status, answer = send(client, file=("silent.mp4", silent.read_bytes()))
    same((status, answer), predictor, silent)
    assert answer["missing"]["sound"].startswith("silent.mp4: has no sound (no audio stream)")


def test_a_file_given_for_what_it_lacks_is_refused(client: httpx.Client, run: Path) -> None:
    silent = served.make_clip(run.parent / "silent.mp4", sound=False).read_bytes()
    found = reason(client, 422, video=("a.mp4", silent), audio=("my.mp4", silent))
    assert found.startswith("my.mp4: has no sound")


WRONG = {
    "empty": ("a.mp4", b"", 422, "a.mp4: is empty"),
    "text": ("a.mp4", b"hello " * 99, 422, "a.mp4: "),
    "zip": ("a.mp4", b"PK\x03\x04" + bytes(200), 422, "expected a media file"),
    "html": ("a.mp4", b"<!doctype html><html></html>", 422, "expected a media file"),
    "path": ("../../a.mp4", b"x", 422, "holds a path"),
    "pickle": ("a.pkl", b"x", 415, "unknown file type '.pkl'"),
    "noise npy": ("a.npy", b"x" * 50, 422, "truncated or not a .npy file"),
}


@pytest.mark.parametrize(("name", "content", "status", "why"), WRONG.values(), ids=WRONG)
def test_a_broken_file_is_refused_with_a_reason(
    client: httpx.Client, name: str, content: bytes, status: int, why: str
) -> None:
    found = reason(client, status, file=(name, content))
    assert why in found
    assert "/" not in found.replace("../../a.mp4", ""), "paths of the server are nobody's business"


def test_a_playlist_opens_no_other_file(client: httpx.Client, run: Path) -> None:
    """FFmpeg would follow it, whatever its suffix."""
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{run.parent / 'clip.mp4'}\n#EXT-X-ENDLIST\n"
    assert "cannot be decoded" in reason(client, 422, file=("a.mp4", playlist.encode()))


def test_half_a_clip_is_refused(client: httpx.Client, clip: bytes) -> None:
    assert "cut short" in reason(client, 422, file=("a.mp4", clip[: len(clip) // 2]))


def test_a_clip_that_is_too_long_is_refused(client: httpx.Client, run: Path) -> None:
    long = served.make_clip(run.parent / "long.mp4", seconds=4)
    assert "is 4." in (found := reason(client, 422, file=("long.mp4", long.read_bytes())))
    assert "the limit is 3 s" in found


def _header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


OTHER_FILES = [pytest.param(suffix, marks=pytest.mark.slow) for suffix in (".wav", ".png", ".npy", ".srt")]


@pytest.mark.parametrize("suffix", [".mp4", ".txt", *OTHER_FILES])
def test_no_reason_quotes_bytes_of_a_file(client: httpx.Client, suffix: str) -> None:
    secret = "root:x:0"
    kinds = [
        secret * 9,
        f"#EXTM3U\n{secret}",
        f"RIFF    WAVE{secret}",
        f"<{secret}>",
        f"1\n{secret} --> {secret}\n{secret}",
    ]
    contents = [kind.encode() for kind in kinds]
    contents += [_header(f"{{'descr': '{secret}', 'fortran_order': False, 'shape': (1, 5)}}")]
    contents += [_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': (1, 5), '{secret}': 1}}")]
    contents += [served.npy(np.zeros((2, 5), [(secret, "f4")])), served.npy(np.full((2, 5), secret))]
    for content in contents:
        for field in ("file", "rgb", "sound"):
            status, answer = send(client, **{field: (f"a{suffix}", content)})
            assert status == 422
            assert "root" not in answer["error"], content


@pytest.mark.parametrize("of", ["name", "field", "type", "boundary", "modality", "value", "path", "method"])
def test_no_reason_repeats_a_long_name(client: httpx.Client, of: str) -> None:
    long = "x" * 30_000  # of what a server takes in a header
    form = {"content-type": "multipart/form-data; boundary=b"}
    body = '--b\r\ncontent-disposition: form-data; name="{}"; filename="{}"\r\n\r\nx\r\n--b--\r\n'
    requests: dict[str, dict[str, Any]] = {
        "name": {"content": body.format("file", long + ".mp4"), "headers": form},
        "field": {"content": body.format(long, "a.mp4"), "headers": form},
        "type": {"content": "x", "headers": {"content-type": long}},
        "boundary": {"content": "x", "headers": {"content-type": f"multipart/form-data; boundary={long}"}},
        "modality": {"json": {"features": {100 * long: [[1]]}}},
        "value": {"json": {"features": {"rgb": [[100 * long[:10_000]]]}}},
        "path": {"json": {}},
        "method": {"json": {}},
    }
    path, method = f"/{long}" if of == "path" else "/predict", long[:9000] if of == "method" else "POST"
    found = client.request(method, path, **requests[of])
    assert 400 <= found.status_code < 500
    assert len(found.content) < 700, found.text[:1000]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.full((2, 5), np.nan, np.float32), "are NaN or infinite"),
        (np.zeros((2, 6), np.float32), r"rgb must be (N, 5) with N >= 1; got (2, 6)"),
        (np.zeros((2, 3, 5), np.float32), "expected two axes"),
        (np.zeros((0, 5), np.float32), "is empty"),
        (np.zeros((5000, 5), np.float32), "has 5000 tokens; the limit is 4096"),
        (np.array([["a"] * 5]), "expected numbers"),
        (np.array([[{}] * 5]), "Python objects"),
    ],
)
def test_wrong_features_are_refused_though_another_modality_is_right(
    client: httpx.Client, values: Any, why: str
) -> None:
    sound = served.npy(served.features()["sound"])
    assert why in reason(client, 422, rgb=("a.npy", served.npy(values)), sound=("b.npy", sound))


def test_an_output_that_is_not_finite_is_refused_with_the_files_name(client: httpx.Client, monkeypatch) -> None:
    monkeypatch.setattr(multiclip, "MOST", 0.0)  # of any output
    features = served.npy(served.features()["rgb"])
    assert reason(client, 422, rgb=("a.npy", features)).startswith("a.npy: the model's output is ")


def test_a_header_that_promises_gigabytes_takes_none(client: httpx.Client) -> None:
    head = served.npy(np.zeros((1, 5), np.float32)).replace(b"(1, 5), }", b"(999999999999, 5), }")
    assert "truncated" in reason(client, 422, rgb=("a.npy", head))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('{"features": {"rgb": [[1, 2, 3, 4, NaN]]}}', "rgb has NaN or infinite values"),
        ('{"features": {"rgb": [[1, 2], [3]]}}', "rgb: expected rows of numbers, all of one length"),
        ('{"features": {"rgb": "abc"}}', "rgb: expected rows of numbers"),
        ('{"features": {"rbg": [[1, 2, 3, 4, 5]]}}', "unknown modality 'rbg'; did you mean 'rgb'?"),
        ('{"features": {}}', "the JSON must be"),
        ("[" * 100_000, "the body is not JSON"),
        ('{"rgb": ', "the body is not JSON"),
    ],
)
def test_wrong_json_is_refused(client: httpx.Client, body: str, why: str) -> None:
    found = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert found.status_code == 422
    assert why in found.json()["error"]


def test_a_wrong_field_gets_the_nearest(client: httpx.Client, clip: bytes) -> None:
    assert "did you mean 'video'?" in reason(client, 422, vidoe=("a.mp4", clip))


@pytest.mark.slow  # it waits for a new process
def test_a_decoder_that_crashes_costs_one_request(client: httpx.Client, clip: bytes, service: Service) -> None:
    before = service.readers.pids
    found = reason(client, 422, file=("bad.mp4", clip + b"CRASH"))
    assert found == "bad.mp4: reading it crashed the decoder (exit code -6)"
    assert send(client, file=("a.mp4", clip))[0] == 200
    assert service.readers.pids != before
    assert "sparsefuse_reader_restarts_total 1" in client.get("/metrics").text


def test_too_many_at_once_are_sent_away(client: httpx.Client, service: Service, clip: bytes) -> None:
    places = [service.admission.place() for _ in range(LIMITS.places)]
    for place in places:
        place.__enter__()
    try:
        found = client.post("/predict", files={"file": ("a.mp4", clip)})
        assert (found.status_code, found.headers["retry-after"]) == (503, "1")
    finally:
        for place in places:
            place.__exit__(None, None, None)
    assert send(client, file=("a.mp4", clip))[0] == 200


def test_nothing_stays_on_the_disk(client: httpx.Client, service: Service, clip: bytes) -> None:
    send(client, file=("a.mp4", clip))
    send(client, file=("a.mp4", b"x"))
    assert list(service.folder.iterdir()) == []


def test_the_card_says_what_the_model_is_and_takes(client: httpx.Client) -> None:
    card = client.get("/card").json()
    assert {name: facts["width"] for name, facts in card["modalities"].items()} == tiny.FEATURES
    assert card["labels"]["classes"] == ["a", "b", "c"]
    assert list(card["inputs"]) == ["rgb", "sound", "video", "audio", "file"]
    assert card["results"]["test"].keys() >= {"top1"}
    assert card["limits"]["seconds"] == 3


def test_the_schema_is_whole_and_its_example_works(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    assert schema["paths"].keys() == {"/predict", "/health", "/card", "/metrics"}
    body = schema["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert body["multipart/form-data"]["schema"]["properties"].keys() == {"rgb", "sound", "video", "audio", "file"}
    found = client.post("/predict", json=body["application/json"]["example"])
    assert found.status_code == 200
    example = schema["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    assert found.json().keys() == example.keys()


def test_health_and_wrong_methods(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "ok", "model": "sft"}
    found = client.get("/predict")
    assert found.status_code == 405
    assert found.json() == {"error": "/predict takes POST, not GET; see /openapi.json"}
    assert found.headers["allow"] == "POST, OPTIONS"
    assert client.post("/health").status_code == 405


def test_without_a_page_there_is_no_explanation(client: httpx.Client) -> None:
    assert client.get("/").status_code == 404
    assert client.post("/explain", json={}).status_code == 404


@pytest.mark.parametrize("path", ["/health", "/card"])
def test_head_says_what_get_would_without_a_body(client: httpx.Client, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.content))
    assert client.head("/predict").status_code == 405


def test_the_card_names_no_folder_of_its_machine(client: httpx.Client, service: Service, run: Path) -> None:
    assert json.loads((run / "env.json").read_text())["command"]
    assert "command" not in client.get("/card").json()["versions"]


def test_an_error_of_our_own_is_said_without_its_text(
    client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(service.numbers, "text", fail)
    found = client.get("/metrics")
    assert (found.status_code, found.json()) == (500, {"error": "the server failed; its log says why"})
    assert "secret" in caplog.text


@pytest.mark.slow
def test_a_decoder_that_hangs_is_stopped_in_time(run: Path, clip: bytes, tmp_path: Path) -> None:
    """And others wait no longer than they may."""
    service = Service(run, ServeLimits(concurrency=1, timeout=4), tmp_path, trust_code=True)
    with served.listening(service) as client:
        statuses: list[tuple[int, str]] = []

        def ask(content: bytes) -> None:
            status, answer = send(client, file=("a.mp4", content))
            statuses.append((status, answer.get("error", "")))

        hanging = threading.Thread(target=ask, args=(clip + b"HANGS",))
        hanging.start()
        time.sleep(0.5)
        ask(clip)
        hanging.join()
        assert dict(statuses).keys() == {422, 504}  # the one that hangs, and the one that waited for it in vain
        assert "a.mp4: reading it took longer" in dict(statuses)[422]
        while statuses[-1][0] == 504:  # a new process takes seconds to start
            ask(clip)
        assert statuses[-1][0] == 200


@pytest.mark.slow
def test_a_stream_that_needs_too_much_memory_costs_itself_alone(
    run: Path, clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (run.parent / "mine.py").read_text() + "\n_whole = extract\ndef extract(path, *, rate: float = 5):\n"
    code += "    return np.ones(2**32) if path.read_bytes()[-5:] == b'LARGE' else _whole(path, rate=rate)\n"
    (tmp_path / "large.py").write_text(code)
    facts = json.loads((run / "model.json").read_text())
    facts["extract"]["features"]["rgb"]["extractor"] = str(tmp_path / "large.py")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.json").write_text(json.dumps(facts))
    (tmp_path / "run" / "model.safetensors").symlink_to(run / "model.safetensors")
    service = Service(tmp_path / "run", ServeLimits(concurrency=1), tmp_path, trust_code=True)
    with served.listening(service) as client:
        status, answer = send(client, file=("a.mp4", clip + b"LARGE"))[:2]
        assert status == 200
        assert "needs more memory than there is" in answer["missing"]["rgb"]
        assert send(client, file=("a.mp4", clip))[0] == 200
        assert "restarts_total 0" in client.get("/metrics").text


@pytest.mark.parametrize("method", [b"POST", b"HEAD", b"GET"])
@pytest.mark.parametrize("path", [b"/predict", b"/card", b"/nothing"])
def test_a_body_that_is_no_http_costs_its_connection_alone(
    client: httpx.Client, method: bytes, path: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"host: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    for pause in (0.0, 0.2):
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
            connection.sendall(method + b" " + path + b" HTTP/1.1\r\n" + head)
            time.sleep(pause)
            connection.sendall(b"no chunk\r\n" * 3)
            connection.settimeout(10)
            with contextlib.suppress(ConnectionError):
                while connection.recv(4096):
                    pass
    assert "Traceback" not in caplog.text
    assert client.get("/health").status_code == 200
