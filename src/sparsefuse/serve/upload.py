"""Writes a request body to files with generated names; the client's names are never used as paths."""

import mimetypes
import re
from collections.abc import AsyncIterator, Mapping, Set
from pathlib import Path
from typing import IO, NamedTuple

from sparsefuse.errors import unknown
from sparsefuse.files.references import MEDIA, TABLES
from sparsefuse.serve.refusal import Refusal
from sparsefuse.shown import shown

FILE = "file"
"""The field of one file for all modalities that no other field is for."""
JSON = "json"
"""The field that stands for a body of JSON."""
SUFFIXES = MEDIA | TABLES | {".npy"}
TRANSCRIPT = ".json"
"""type of file, as Whisper writes them, that only the field of a text takes"""
_HOW = (
    'send a form (curl -F file=@clip.mp4), or JSON: {"features": {modality: rows of numbers}, "texts": {column: text}}'
)


class Received(NamedTuple):
    """One file of a request."""

    field: str
    """a modality, a column that modalities are extracted from, `file` or `json`"""
    path: Path
    shown: str
    """its name in messages"""


async def receive(
    headers: Mapping[str, str],
    body: AsyncIterator[bytes],
    folder: Path,
    fields: Mapping[str, bool],
    suffixes: Set[str] = SUFFIXES,
) -> list[Received]:
    """Writes the body to the folder as it arrives. `fields` are those a form may have, and whether each may be text;
    `suffixes` those of files.

    Raises Refusal for a body that is neither a form nor JSON, is empty, or has an unknown field or type of file.
    """
    kind, _, rest = headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if kind == "application/json":
        target = folder / "body.json"
        with target.open("wb") as file:
            async for part in body:
                file.write(part)
        return [Received(JSON, target, "the JSON")]
    if kind != "multipart/form-data":
        raise Refusal(415, f"the body is {shown(kind) or 'of no stated type'}; {_HOW}")
    boundary = re.search(r'boundary=("?)([^";,\s]{1,70})\1', rest)
    if boundary is None:
        raise Refusal(400, f"the form's Content-Type names no boundary; {_HOW}")
    return await _form(boundary[2].encode("latin-1"), body, _Form(folder, fields, suffixes))


async def _form(boundary: bytes, body: AsyncIterator[bytes], form: "_Form") -> list[Received]:
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser

    try:
        parser = MultipartParser(boundary, {
            "on_part_begin": form.begin, "on_header_field": form.header_name, "on_header_value": form.header_value,
            "on_header_end": form.header_end, "on_headers_finished": form.start, "on_part_data": form.data,
            "on_part_end": form.close, "on_end": form.finish,
        })  # fmt: skip
        async for part in body:
            parser.write(part)
    except FormParserError as error:
        raise Refusal(400, f"the form is broken ({error}); {_HOW}") from error
    finally:
        form.close()
    if not form.complete:
        raise Refusal(400, "the form ends before its last boundary; send it again")
    if not form.received:
        raise Refusal(422, f"the form has no file; {_HOW}")
    for file in form.received:
        if file.path.stat().st_size == 0:
            raise Refusal(422, f"{file.shown}: is empty (0 bytes)")
    return form.received


class _Form:
    """The parts of a form: a file each, or a text that becomes one, written as they arrive."""

    def __init__(self, folder: Path, fields: Mapping[str, bool], suffixes: Set[str]) -> None:
        self.received: list[Received] = []
        self.complete = False
        self._folder, self._fields, self._suffixes = folder, fields, suffixes
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = b"", b""
        self._file: IO[bytes] | None = None

    def begin(self) -> None:
        self._headers = {}

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def start(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        field = _text(options.get(b"name", b""))
        if field not in self._fields:
            raise Refusal(422, unknown("field", field, self._fields))
        if field in (file.field for file in self.received):
            raise Refusal(422, f"field {field!r} occurs twice; send one file a field, one clip a request")
        text = b"filename" not in options
        if text and not self._fields[field]:
            raise Refusal(422, f"field {field!r} holds text, expected a file: curl -F {field}=@clip.mp4")
        name = _text(options.get(b"filename", b""))
        suffix = ".txt" if text else self._suffix(field, name)
        path = self._folder / f"{len(self.received)}{suffix}"
        self._file = path.open("wb")
        self.received.append(Received(field, path, shown(name) or field))

    def _suffix(self, field: str, name: str) -> str:
        takes = self._suffixes | {TRANSCRIPT} if self._fields[field] else self._suffixes
        if name.lower().endswith(TRANSCRIPT) and not self._fields[field] and TRANSCRIPT not in self._suffixes:
            texts = [name for name, text in self._fields.items() if text]
            hint = f"; send it as {' or '.join(texts)}" if texts else ", and this model reads none"
            raise Refusal(415, f"{shown(name)}: a .json is a transcript, which field {field!r} does not take{hint}")
        return suffix_of(name, _text(self._headers.get(b"content-type", b"")), takes)

    def data(self, data: bytes, start: int, end: int) -> None:
        assert self._file is not None, "a part's data follows its headers"
        self._file.write(data[start:end])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def finish(self) -> None:
        self.complete = True


def suffix_of(name: str, content_type: str = "", suffixes: Set[str] = SUFFIXES) -> str:
    """The suffix of the generated name. Raises Refusal for a name with a path, or another type of file."""
    if re.search(r"[/\\\x00]", name):
        raise Refusal(422, f"file name {shown(name)!r} holds a path; send the name alone")
    suffix = Path(name).suffix.lower()
    if not suffix:  # a browser's recording may be called `blob`
        suffix = mimetypes.guess_extension(content_type.partition(";")[0].strip()) or ""
    if suffix not in suffixes:
        raise Refusal(415, f"{shown(name) or 'the file'}: {unknown('file type', suffix, suffixes)}")
    return suffix


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
