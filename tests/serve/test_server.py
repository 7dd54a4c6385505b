"""The real thing: a process that listens, is loaded, is attacked, and ends when it is told to."""

import http.client
import json
import re
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import served

import tiny
from sparsefuse.serve import readers
from sparsefuse.serve.access import Access
from sparsefuse.serve.limits import ServeLimits
from sparsefuse.serve.server import serve

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "serve.py"

HERE: Any = {"host": "127.0.0.1", "limits": ServeLimits(), "access": Access(), "page": False, "open_to_all": False}
HERE |= {"trust_code": False, "device": "cpu"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its features are made by the package's own extractors: no code of its own needs trust."""
    run = served.make_run(tmp_path_factory.mktemp("served"))
    facts = json.loads((run / "model.json").read_text())
    frames = {"extractor": "frames", "source": "video", "rate": 5, "size": [1, 5], "gray": True, "difference": False}
    facts["extract"]["features"]["rgb"] = frames
    (run / "model.json").write_text(json.dumps(facts))
    return run


@contextmanager
def running(run: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """The process, its port and what it has said."""
    command = [sys.executable, "-m", "sparsefuse", "serve", str(run), "--port", "0", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=tiny.environment())
    said: list[str] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"answers on http://\S+?:(\d+) ", line):
                break
        else:
            raise AssertionError("".join(said))
        listening = threading.Thread(target=said.extend, args=(process.stderr,), daemon=True)
        listening.start()
        yield process, int(found[1]), said
        process.kill()
        listening.join()
    finally:
        process.kill()
        process.communicate()


def own_folders(process: subprocess.Popen[str]) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"sparsefuse-serve-{process.pid}-*"))


def ask(port: int, clip: bytes) -> tuple[int, Any]:
    body = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n' + clip + b"\r\n--b--\r\n"
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", "/predict", body, {"content-type": "multipart/form-data; boundary=b"})
        found = connection.getresponse()
        return found.status, json.loads(found.read())


def test_a_port_that_is_taken_is_said_at_once(run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        taken.listen()
        with pytest.raises(ValueError, match=rf"cannot listen on 127.0.0.1 port {port}: .*; choose another"):
            serve(run, port=port, **HERE)


def test_a_machine_too_busy_to_start_is_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "START", 0.0)
    with pytest.raises(ValueError, match="did not start within 0 s; end what keeps this machine busy"):
        serve(run, port=0, **HERE)


def test_limits_that_let_nothing_through_are_refused() -> None:
    with pytest.raises(ValueError, match="--max-mb is 0, expected more than 0"):
        ServeLimits(max_mb=0)


def test_a_run_with_code_of_its_own_needs_trust(tmp_path: Path) -> None:
    run = served.make_run(tmp_path)
    with pytest.raises(ValueError, match="--trust-code"):
        serve(run, port=0, **HERE)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "birds.example"])
def test_others_are_served_only_with_a_token_or_when_it_is_said(tmp_path: Path, host: str) -> None:
    with pytest.raises(ValueError, match=rf"--host {host} lets others .* SPARSEFUSE_TOKEN .* or give --open"):
        serve(tmp_path, port=0, **HERE | {"host": host})
    for allowed in ({"access": Access(token="secret")}, {"open_to_all": True}, {"host": "::1"}, {"host": "localhost"}):
        with pytest.raises((FileNotFoundError, ValueError)) as error:
            serve(tmp_path, port=0, **HERE | {"host": "127.0.0.1"} | allowed)
        assert "--open" not in str(error.value)


@pytest.mark.slow
def test_it_ends_when_told_to_and_answers_first_what_has_begun(run: Path, tmp_path: Path) -> None:
    clip = served.make_clip(tmp_path / "a.mp4").read_bytes()
    with running(run, "--no-page", "--host", "127.0.0.1", "--concurrency", "1") as (process, port, said):
        (folder,) = own_folders(process)
        assert folder.stat().st_mode & 0o077 == 0, "others can read it"
        found: list[int] = []
        askers = [threading.Thread(target=lambda: found.append(ask(port, clip)[0])) for _ in range(4)]
        for asker in askers:
            asker.start()
        while "in_flight 1" not in _metrics(port):
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        for asker in askers:
            asker.join()
        assert found.count(200) >= 1
        assert not folder.exists()
        assert "Traceback" not in "".join(said)


def _metrics(port: int) -> str:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


@pytest.mark.slow
def test_it_warns_when_others_can_reach_it_and_ends_with_ctrl_c(run: Path) -> None:
    with running(run, "--no-page", "--host", "0.0.0.0", "--open") as (process, _, said):
        assert "anyone who can reach this machine can use the model" in "".join(said)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.mark.slow
def test_the_command_line_sets_names_origins_base_path_and_token(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEFUSE_TOKEN", "secret")
    flags = ["--host-name", "birds.example", "--allow-origin", "https://example.org", "--behind-proxy"]
    with running(run, "--no-page", *flags, "--base-path", "/birds/") as (_, port, _):

        def ask_card(host: str, token: str = "secret", **headers: str) -> httpx.Response:
            headers |= {"host": host, "authorization": f"Bearer {token}"}
            return httpx.get(f"http://127.0.0.1:{port}/birds/openapi.json", headers=headers, trust_env=False)

        assert httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).json() == {"status": "ok"}
        assert ask_card("evil.example").status_code == 421
        assert ask_card("birds.example", "wrong").status_code == 401
        found = ask_card("birds.example", origin="https://example.org")
        assert (found.status_code, found.headers["access-control-allow-origin"]) == (200, "https://example.org")
        assert found.json()["servers"] == [{"url": "/birds"}]
        proxied = {"x-forwarded-proto": "https", "origin": "https://birds.example"}
        assert ask_card("birds.example", **proxied).status_code == 200


@pytest.mark.slow
def test_a_small_load_with_broken_killed_and_hostile_clients(run: Path, tmp_path: Path) -> None:
    """The load test of benchmarks/, of which `python benchmarks/serve.py` is the full size."""
    load_test = runpy.run_path(str(BENCHMARK))["load_test"]
    files = [served.make_clip(tmp_path / f"{seed}.mp4", seed=seed) for seed in range(3)]
    outcome = load_test(run, files, clients=8, requests=120, broken=0.2, kills=1, timeout=10, page=False)
    assert outcome.problems(growth=1.3) == []  # so few requests do not warm it up
    assert sum(one.status == 200 for one in outcome.seen) > 80
    assert {one.what: one.status for one in outcome.hostile} == {
        "10 GB header": 413, "endless stream": 413, "slow body": 408, "silent body": 408, "slow headers": 0,
        "no HTTP": 400, "huge header": 400,
    }  # fmt: skip
