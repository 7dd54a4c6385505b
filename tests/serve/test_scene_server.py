"""The server of a run on pictures answers as `predict` does, and refuses what is no picture."""

import base64
import io
import zlib

import av
import numpy as np
import pytest
from served import listening

from pixel_runs import CLASSES, predictor_of, run_of, scene
from sparsefuse.media.png import png_of
from sparsefuse.report.pixels.palette import palette
from sparsefuse.serve.access import Access
from sparsefuse.serve.limits import ServeLimits
from sparsefuse.serve.pixels.app import scene_application
from sparsefuse.serve.pixels.service import SceneService

LIMITS = ServeLimits(max_mb=2, concurrency=1, timeout=20)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    service = SceneService(run_of(folder / "run", predictor_of()), LIMITS, folder)
    with listening(service, page=True, application=scene_application) as client:
        yield client


def files_of(pictures):
    return {name: (f"{name}.png", png_of(pixels)) for name, pixels in pictures.items()}


def read(content):
    with av.open(io.BytesIO(content)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


@pytest.mark.slow
def test_a_scene_is_answered_as_by_predict(client):
    pictures = scene(30, 44)
    expected = predictor_of().predict(pictures)
    answer = client.post("/predict", files=files_of(pictures)).json()
    assert answer["classes"] == expected.legend()
    assert (answer["height"], answer["width"], answer["missing"]) == (30, 44, {})
    np.testing.assert_array_equal(
        read(base64.b64decode(answer["png"])), np.array(palette(len(CLASSES)), np.uint8)[expected.labels]
    )
    response = client.post("/picture", files=files_of(pictures))
    assert response.headers["content-type"] == "image/png"
    assert response.content == base64.b64decode(answer["png"])
    assert "views" not in answer
    views = client.post("/show", files=files_of(pictures)).json()["views"]
    assert {name: read(base64.b64decode(png)).shape for name, png in views.items()} == dict.fromkeys(
        ["depth", "rgb", "prediction"], (30, 44, 3)
    )


@pytest.mark.slow
def test_a_stream_may_be_left_out(client):
    answer = client.post("/predict", files=files_of({"rgb": scene()["rgb"]})).json()
    assert answer["missing"] == {"depth": "not given"}


def test_the_card_and_the_schema_name_the_streams(client):
    card = client.get("/card").json()
    assert list(card["classes"]) == CLASSES
    assert card["streams"]["depth"]["kind"] == "depth"
    paths = client.get("/openapi.json").json()["paths"]
    form = paths["/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"depth", "rgb"}
    for path in ("/", "/page.js", "/page.css"):
        assert client.get(path).status_code == 200


def bomb():
    """A PNG of some kilobytes that says it is 60,000 x 60,000."""
    head = (60_000).to_bytes(4) * 2 + bytes([8, 2, 0, 0, 0])
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(2_000_000), 9)), (b"IEND", b"")]
    parts = (len(c).to_bytes(4) + name + c + zlib.crc32(name + c).to_bytes(4) for name, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("files", "status", "why"),
    [
        ({"rgb": ("a.png", b"no picture")}, 422, "a.png"),
        ({"rgb": ("a.png", png_of(np.zeros((8, 8, 3), np.uint8))[:60])}, 422, "a.png"),
        ({"rgb": ("bomb.png", bomb())}, 422, "bomb.png"),
        ({"color": ("a.png", b"x")}, 422, "unknown field"),
        ({"rgb": ("a.mp4", b"x")}, 415, "file type"),
        ({"rgb": ("../a.png", b"x")}, 422, "path"),
        ({"rgb": ("a.png", bytes(3_000_000))}, 413, "limit is 2 MB"),
        ({**files_of(scene()), "depth": ("d.png", png_of(np.zeros((9, 9), np.uint16)))}, 422, "one size"),
        ({**files_of(scene()), "depth": ("d.png", png_of(np.zeros((32, 40, 3), np.uint8)))}, 422, "d.png"),
    ],
)
def test_hostile_uploads_are_refused_with_a_reason(client, files, status, why):
    response = client.post("/predict", files=files)
    assert response.status_code == status, response.text
    assert why in response.json()["error"]
    assert "/tmp" not in response.text
    assert client.post("/picture", files=files_of(scene())).status_code == 200  # it still answers


def test_json_and_strangers_are_refused(client, tmp_path):
    assert client.post("/predict", json={"features": {}}).status_code == 415
    assert client.get("/card", headers={"host": "example.org"}).status_code == 421
    assert client.post("/predict", headers={"origin": "https://example.org"}).status_code == 403


@pytest.mark.slow
def test_a_token_is_demanded(tmp_path):
    service = SceneService(run_of(tmp_path / "run", predictor_of()), LIMITS, tmp_path)
    with listening(service, Access(token="secret"), application=scene_application) as client:
        assert client.post("/predict", files=files_of(scene())).status_code == 401
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/").status_code == 404  # no page
