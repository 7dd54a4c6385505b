"""Text and sensors' readings are served as `predict` reads them; text that names a file of ours stays text."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import served
from browser import CHROMIUM, Browser

import tiny
from sparsefuse.inference.predictor import Predictor, load
from sparsefuse.serve.card import ServerCard
from sparsefuse.serve.limits import ServeLimits
from sparsefuse.serve.reader import ReadTask, RefusedClip, most_tokens, result_of
from sparsefuse.serve.schema import schema
from sparsefuse.serve.service import Service
from sparsefuse.serve.upload import FILE, JSON, Received
from sparsefuse.training.train import train

SAID = "a lovely day"
READINGS = "x,y,z,w\n" + "0.5,1.5,2.5,3.5\n" * 5
MADE = {
    "rgb": {"extractor": "text", "source": "said", "hashed": 5},
    "sound": {"extractor": "series", "source": "imu"},
}


def write_run(folder: Path, extract: dict[str, Any]) -> Path:
    run = train(tiny.config(tiny.write_set(folder / "data"), epochs=1), folder / "run", root=Path(), measured=False)
    facts = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps(facts | {"extract": {"features": extract}}))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("words"), MADE)


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return load(run)


def ask(folder: Path, predictor: Predictor, run: Path, **given: tuple[str, str]) -> Any:
    """What a reading process answers to files (field -> name, content)."""
    files = []
    for place, (field, (name, content)) in enumerate(given.items()):
        path = folder / f"{place}{Path(name).suffix}"
        path.write_text(content)
        files.append(Received(field, path, name))
    return result_of(ReadTask("read", files), predictor, most_tokens(run), 3.0)


def test_text_and_readings_are_read_as_predict_reads_them(tmp_path: Path, predictor: Predictor, run: Path) -> None:
    (tmp_path / "a.csv").write_text(READINGS)
    expected, _ = predictor.features({"said": SAID, "imu": tmp_path / "a.csv"})
    body = json.dumps({"texts": {"said": SAID}, "features": {"sound": [[0.5, 1.5, 2.5, 3.5]] * 5}})
    for given in (
        {"said": ("s.txt", SAID), "imu": ("i.csv", READINGS)},
        {"said": ("s.txt", SAID), FILE: ("i.csv", READINGS)},  # the file is for what no other field is for
        {JSON: ("body.json", body)},
    ):
        found = ask(tmp_path, predictor, run, **given)
        assert found.missing == {}, given
        assert {name: x.tolist() for name, x in found.features.items()} == {
            name: x.tolist() for name, x in expected.items()
        }
    words = json.dumps({"segments": [{"text": SAID, "start": 0.0, "end": 2.0}]})  # as Whisper writes
    assert ask(tmp_path, predictor, run, said=("s.json", words)).features["rgb"].tolist() == expected["rgb"].tolist()
    assert ask(tmp_path, predictor, run, said=("s.srt", f"1\n00:00:01,000 --> 00:00:02,000\n{SAID}\n")).features


def test_a_text_that_names_a_file_is_that_text(tmp_path: Path, predictor: Predictor, run: Path) -> None:
    (tmp_path / "secret.txt").write_text("a secret of the server")
    name = str(tmp_path / "secret.txt")
    expected, _ = predictor.features({"said": f"{name} "})  # no file is called so
    found = ask(tmp_path, predictor, run, **{JSON: ("body.json", json.dumps({"texts": {"said": name}}))})
    assert found.features["rgb"].tolist() == expected["rgb"].tolist()


WRONG = {
    "no words": ({"said": ("my.txt", "?!")}, "my.txt: has no words, only signs"),
    "no numbers": ({"imu": ("my.csv", "x,y\na,b\n")}, "my.csv"),
    "another width": ({"imu": ("my.csv", "x,y\n1,2\n")}, "sound must be (N, 4) with N >= 1; got (1, 2)"),
    "for nothing": ({"imu": ("a.csv", READINGS), "said": ("a.txt", SAID), FILE: ("b.csv", READINGS)}, "no modality"),
    "no text": ({JSON: ("b.json", '{"texts": {"said": 3}}')}, "said: expected a text"),
    "no such text": ({JSON: ("b.json", '{"texts": {"siad": "x"}}')}, "unknown column of text 'siad'; did you mean"),
    "no text at all": ({JSON: ("b.json", '{"texts": {}}')}, "the JSON must be"),
    "signs": ({JSON: ("b.json", '{"texts": {"said": "?!"}}')}, "the text: has no words, only signs"),
    "a list": ({JSON: ("b.json", '{"texts": ["said"]}')}, "the JSON must be"),
    "no transcript": (
        {"said": ("my.json", '{"path": "/etc/passwd"}')},
        "my.json: an object has no word, start and end",
    ),
    "no JSON": ({"said": ("my.json", "{")}, "my.json: is not JSON"),
    "a deep one": ({"said": ("my.json", "[" * 100_000)}, "my.json: is not JSON (maximum recursion depth"),
    "no time": ({"said": ("my.json", '[{"word": "x", "start": 1e999}]')}, "my.json: start of a word is inf"),
    "too long": ({"imu": ("a.csv", "x,y,z,w\n" + "1,2,3,4\n" * 5000)}, "has 5000 tokens; the limit is 4096"),
}


@pytest.mark.parametrize(("given", "why"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_used_is_refused(
    tmp_path: Path, predictor: Predictor, run: Path, given: dict[str, tuple[str, str]], why: str
) -> None:
    found = ask(tmp_path, predictor, run, **given)
    assert isinstance(found, RefusedClip), found
    assert why in found.reason
    assert str(tmp_path) not in found.reason, "paths of the server are nobody's business"


def test_a_film_called_txt_is_as_long_as_any(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of films does not get it unmeasured."""
    facts = json.loads((run / "model.json").read_text())
    facts["extract"]["features"]["sound"] = {"extractor": "spectrogram", "source": "audio", "bins": 4, "context": 0}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.json").write_text(json.dumps(facts))
    (tmp_path / "run" / "model.safetensors").symlink_to(run / "model.safetensors")
    film = served.make_clip(tmp_path / "0.mp4", seconds=4).rename(tmp_path / "0.txt")
    predictor = load(tmp_path / "run")
    for field in ("audio", "sound"):
        task = ReadTask("read", [Received(field, film, "my.txt")])
        found = result_of(task, predictor, most_tokens(run), 3.0)
        assert isinstance(found, RefusedClip)
        assert "my.txt: is 4." in found.reason
    assert (
        "my.txt: is not UTF-8 text"
        in result_of(ReadTask("read", [Received(FILE, film, "my.txt")]), predictor, most_tokens(run), 3.0).reason
    ), "as the file for all it is for the words alone"


def test_the_schema_says_which_fields_are_text(predictor: Predictor, run: Path) -> None:
    card = ServerCard.of(run, predictor, ServeLimits(), most_tokens(run))
    assert list(card.inputs) == ["rgb", "sound", "said", "imu", "file"]
    content = schema(card, "")["paths"]["/predict"]["post"]["requestBody"]["content"]
    form = content["multipart/form-data"]["schema"]["properties"]
    assert [name for name, field in form.items() if "format" not in field] == ["said"]
    assert content["application/json"]["example"] == {
        "features": {"sound": [[0.0] * 4]},
        "texts": {"said": "what was said"},
    }


@pytest.fixture(scope="module")
def client(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    service = Service(run, ServeLimits(concurrency=1), tmp_path_factory.mktemp("own"))
    with served.listening(service, page=True) as client:
        yield client


@pytest.mark.slow
def test_a_form_takes_text_and_readings(client: httpx.Client, predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(READINGS)
    expected = predictor.predict_one({"said": SAID, "imu": tmp_path / "a.csv"})
    for said in ((None, SAID), ("a.txt", SAID)):
        found = client.post("/predict", files={"said": said, "imu": ("a.csv", READINGS)})
        assert found.status_code == 200, found.text
        assert found.json()["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
    example = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert client.post("/predict", json=example["application/json"]["example"]).status_code == 200
    refused = client.post("/predict", files={"imu": (None, SAID)})
    assert (refused.status_code, "holds text, expected a file" in refused.text) == (422, True)
    lines = client.post("/explain", files={"said": (None, SAID)}).text.splitlines()
    assert json.loads(lines[1])["shares"] == {"rgb": 1.0}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_page_takes_a_text_and_a_file_beside_it(client: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(READINGS)
    with Browser(tmp_path / "profile") as browser:
        browser.open(f"{client.base_url}/")
        browser.wait("document.querySelector('#text-said')")
        browser.choose("#field-file", tmp_path / "a.csv")
        browser.run("document.querySelector('#text-said').value = '<b>lovely</b> day'")
        browser.run("document.querySelector('#send').click()")
        browser.wait("document.querySelector('.scroll svg')", 60)
        assert browser.run("document.querySelector('.note')") is None, "neither is missing"
        assert {"rgb", "sound"} <= set(browser.run("document.querySelector('.legend').innerText").split())
        browser.shoot(tmp_path / "text.png")
        browser.run("document.querySelector('#text-said').dispatchEvent(new Event('input'))")
        assert browser.run("document.querySelector('#answer').innerText") == "", (
            "nor is the old answer that of new words"
        )
        assert 'said="what was said"' in browser.run("document.querySelector('#command').textContent")
