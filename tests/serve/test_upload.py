"""Bodies become files of our own; names of strangers stay names."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsefuse.serve.refusal import Refusal
from sparsefuse.serve.upload import Received, receive, shown, suffix_of

FIELDS = {"file": False, "rgb": False, "sound": False, "said": True}
TYPE = {"content-type": "multipart/form-data; boundary=b"}


def form(*parts: tuple[str, str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    """(field, file name, content) -> a body; without a file name, a field of text."""
    body = b""
    for field, name, content in parts:
        file = f'; filename="{name}"' if name else ""
        body += f'--b\r\nContent-Disposition: form-data; name="{field}"{file}\r\n\r\n'.encode() + content + b"\r\n"
    return body + end


def take(folder: Path, *pieces: bytes, headers: dict[str, str] = TYPE) -> list[Received]:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return asyncio.run(receive(headers, body(), folder, FIELDS))


def refusal(folder: Path, *pieces: bytes, headers: dict[str, str] = TYPE) -> Refusal:
    with pytest.raises(Refusal) as error:
        take(folder, *pieces, headers=headers)
    return error.value


def test_each_file_lands_under_a_name_of_ours(tmp_path: Path) -> None:
    found = take(tmp_path, form(("rgb", "my clip.MP4", b"one"), ("sound", "x.npy", b"two")))
    assert [(file.field, file.path.name, file.shown) for file in found] == [
        ("rgb", "0.mp4", "my clip.MP4"),
        ("sound", "1.npy", "x.npy"),
    ]
    assert [file.path.read_bytes() for file in found] == [b"one", b"two"]


@given(cuts=st.lists(st.integers(0, 200)), content=st.binary(max_size=40))
def test_however_the_body_is_cut_the_file_is_the_same(tmp_path_factory, cuts: list[int], content: bytes) -> None:
    body = form(("file", "a.mp4", b"x" + content))
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[a:b] for a, b in itertools.pairwise(places)]
    (found,) = take(tmp_path_factory.mktemp("cut"), *pieces)
    assert found.path.read_bytes() == b"x" + content


@pytest.mark.parametrize("name", ["../../etc/a.mp4", "/etc/a.mp4", "..\\\\a.mp4", "a/../b.mp4"])
def test_a_name_that_holds_a_path_is_refused(tmp_path: Path, name: str) -> None:
    found = refusal(tmp_path, form(("file", name, b"x")))
    assert found.status == 422
    assert "holds a path" in found.reason
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.pkl", "a.exe", "a.html", "a", "a.mp4.sh", ".mp4", "a.m3u8"])
def test_types_that_are_not_read_are_refused(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, form(("file", name, b"x"))).status == 415
    assert list(tmp_path.iterdir()) == []


def test_a_transcript_goes_in_the_field_of_a_text(tmp_path: Path) -> None:
    (found,) = take(tmp_path, form(("said", "Talk.JSON", b"[]")))
    assert (found.path.name, found.shown) == ("0.json", "Talk.JSON")
    other = refusal(tmp_path, form(("file", "a.json", b"[]")))
    assert (other.status, other.reason) == (
        415,
        "a.json: a .json is a transcript, which field 'file' does not take; send it as said",
    )


def test_a_recording_without_a_suffix_gets_that_of_its_type() -> None:
    assert suffix_of("blob", "video/webm;codecs=vp8") == ".webm"


def test_an_unknown_field_is_answered_with_the_nearest() -> None:
    with pytest.raises(Refusal, match=r"unknown field 'sonud'; did you mean 'sound'\?"):
        take(Path(), form(("sonud", "a.wav", b"x")))


BROKEN = {
    "nothing": (b"--b--\r\n", 422, "the form has no file"),
    "empty file": (form(("file", "a.mp4", b"")), 422, r"a.mp4: is empty \(0 bytes\)"),
    "twice": (form(("rgb", "a.npy", b"x"), ("rgb", "b.npy", b"x")), 422, "occurs twice"),
    "text": (form(("file", "", b"x")), 422, "holds text, expected a file"),
    "cut short": (form(("file", "a.mp4", b"x"), end=b""), 400, "ends before its last boundary"),
    "noise": (bytes(range(256)), 400, "the form is broken"),
    "no header": (b"--b\r\n\r\nx\r\n--b--\r\n", 422, "unknown field ''"),
}


@pytest.mark.parametrize(("body", "status", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_form_is_refused_with_a_reason(tmp_path: Path, body: bytes, status: int, reason: str) -> None:
    with pytest.raises(Refusal, match=reason) as error:
        take(tmp_path, body)
    assert error.value.status == status


def test_other_kinds_of_bodies_are_told_what_to_send(tmp_path: Path) -> None:
    for kind, status in {"text/plain": 415, "": 415, "multipart/form-data": 400}.items():
        found = refusal(tmp_path, b"x", headers={"content-type": kind})
        assert (found.status, "curl -F" in found.reason) == (status, True)


def test_json_is_written_as_it_is(tmp_path: Path) -> None:
    (found,) = take(tmp_path, b'{"feat', b"ures", headers={"content-type": "application/json; charset=utf-8"})
    assert found.path.read_bytes() == b'{"features'


def test_shown_names_cannot_hide_anything() -> None:
    assert shown("a\x1b[31m\n\u202eb.mp4") == "a?[31m??b.mp4"
    assert len(shown("x" * 500)) == 80
