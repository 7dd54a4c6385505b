"""Reading pictures: what each kind of file means, bit by bit."""

import base64
import math
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from pngs import write_png
from sparsefuse.config.pixels import PictureStream
from sparsefuse.data.pixels.read import common, normalised, read_labels, read_picture, read_raw, resolved
from sparsefuse.files.skipped import Unusable

AUTO = PictureStream()
DEPTH = PictureStream(kind="depth")
GRAY_JPEG = (  # 8 x 8, which FFmpeg does not write
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19iZ2hnPk1xeX"
    "BkeFxlZ2P/wAALCAAIAAgBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAABv/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8ABP/Z"
)


def encoded(path, values, codec, pix_fmt, form):
    """A picture that FFmpeg writes."""
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = values.shape[1], values.shape[0], pix_fmt
    context.time_base = Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(values, format=form).reformat(format=pix_fmt)
    frame.pts = 0
    path.write_bytes(b"".join(bytes(packet) for packet in context.encode(frame) + context.encode(None)))
    return path


def ramp(dtype, *shape, top):
    return np.linspace(0, top, math.prod(shape)).astype(dtype).reshape(shape)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_colour_is_from_0_to_1_at_both_depths_and_alpha_is_left_out(tmp_path, dtype, channels):
    top = np.iinfo(dtype).max
    values = ramp(dtype, 3, 5, channels, top=top)
    x = read_picture(write_png(tmp_path / "a.png", values), AUTO)
    torch.testing.assert_close(x, torch.tensor(values[..., :3] / top, dtype=torch.float32))


def test_a_palette_is_its_colours_in_a_picture_and_its_numbers_as_labels(tmp_path):
    values = np.array([[0, 1], [2, 1]], np.uint8)
    path = write_png(tmp_path / "a.png", values, palette=[[255, 0, 0], [0, 51, 0], [0, 0, 102]])
    assert read_picture(path, AUTO)[:, :, 1].tolist() == [[0, pytest.approx(0.2)], [0, pytest.approx(0.2)]]
    assert read_labels(path).tolist() == values.tolist()


@pytest.mark.parametrize("palette", [None, [[9, 9, 9]] * 16])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_labels_of_few_bits_are_their_numbers(tmp_path, bits, palette):
    values = np.arange(30, dtype=np.uint8).reshape(3, 10) % min(2**bits, 16)
    path = write_png(tmp_path / "a.png", values, bits=bits, palette=palette and palette[: 2**bits])
    assert read_labels(path).tolist() == values.tolist()


def test_gray_of_few_bits_is_a_share_of_the_largest_number(tmp_path):
    path = write_png(tmp_path / "a.png", np.array([[0, 1, 2, 3]], np.uint8), bits=2)
    torch.testing.assert_close(read_picture(path, AUTO)[0, :, 0], torch.tensor([0, 1 / 3, 2 / 3, 1]))


def test_labels_of_16_bits_keep_all_of_them(tmp_path):
    values = np.array([[0, 256, 65535]], np.uint16)
    assert read_labels(write_png(tmp_path / "a.png", values)).tolist() == values.tolist()


def test_labels_in_colour_are_refused(tmp_path):
    coloured = write_png(tmp_path / "a.png", ramp("uint8", 2, 2, 3, top=255))
    with pytest.raises(Unusable, match=r"a\.png: is in colour \(3 channels\).* save one number per pixel"):
        read_labels(coloured)
    with pytest.raises(Unusable, match="all channels are equal: save one of them"):
        read_labels(write_png(tmp_path / "b.png", np.full((2, 2, 3), 7, np.uint8)))


def test_labels_of_arrays_are_whole_numbers(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[-1, 3], [2, 0]], np.int16))
    np.save(tmp_path / "b.npy", np.array([[0.5, 3]]))
    assert read_labels(tmp_path / "a.npy").tolist() == [[-1, 3], [2, 0]]
    with pytest.raises(Unusable, match="holds fractions"):
        read_labels(tmp_path / "b.npy")


def test_labels_as_jpeg_are_refused(tmp_path):
    (path := tmp_path / "a.jpg").write_bytes(base64.b64decode(GRAY_JPEG))
    with pytest.raises(Unusable, match="is a JPEG"):
        read_labels(path)


def test_depth_of_16_bits_is_millimetres_and_0_is_not_measured(tmp_path):
    path = write_png(tmp_path / "a.png", np.array([[0, 1], [256, 65535]], np.uint16))
    x = read_picture(path, AUTO)
    torch.testing.assert_close(x[..., 0], torch.tensor([[0.0, 0.001], [0.256, 65.535]]))
    assert x[..., 1].tolist() == [[0, 1], [1, 1]]


def test_a_stated_unit_and_invalid_value_count(tmp_path):
    path = write_png(tmp_path / "a.png", np.array([[0, 512, 65535]], np.uint16))
    x = read_picture(path, PictureStream(kind="depth", unit=1 / 512, invalid=65535))
    assert x.tolist() == [[[0, 0], [1, 1], [0, 0]]]  # nothing lies 0 m away


def test_float_depth_is_metres_and_nan_infinity_and_below_0_are_not_measured(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1.5, np.nan, np.inf, -2.0, 0.0]], np.float32))
    assert read_picture(tmp_path / "a.npy", AUTO).tolist() == [[[1.5, 1], [0, 0], [0, 0], [0, 0], [0, 0]]]


def test_metres_are_not_taken_for_millimetres(tmp_path):
    np.save(tmp_path / "a.npy", np.linspace(0.5, 9, 12).reshape(3, 4))
    with pytest.raises(Unusable, match=r"holds fractions, half of them above 4\.75, .* are these metres"):
        read_picture(tmp_path / "a.npy", PictureStream(kind="depth", unit=0.001))
    np.save(tmp_path / "b.npy", np.linspace(500, 9000, 12).reshape(3, 4))
    assert float(read_picture(tmp_path / "b.npy", PictureStream(kind="depth", unit=0.001))[0, 0, 0]) == 0.5


def test_depth_of_8_bits_is_refused_unless_its_unit_is_stated(tmp_path):
    path = write_png(tmp_path / "a.png", np.array([[0, 100]], np.uint8))
    with pytest.raises(Unusable, match="has 8 bits per pixel, too few for depth in millimetres"):
        read_picture(path, DEPTH)
    assert read_picture(path, PictureStream(kind="depth", unit=0.05)).tolist() == [[[0, 0], [5, 1]]]


def test_depth_in_colour_is_refused(tmp_path):
    path = write_png(tmp_path / "a.png", ramp("uint8", 2, 2, 3, top=255))
    with pytest.raises(Unusable, match="has 3 channels, expected depth"):
        read_picture(path, DEPTH)


def test_normals_are_unit_vectors_and_gray_is_none(tmp_path):
    values = np.array([[[255, 127, 127], [127, 127, 127], [0, 0, 127]]], np.uint8)
    x = read_picture(write_png(tmp_path / "a.png", values), PictureStream(kind="normal"))
    torch.testing.assert_close(x[0, 0], torch.tensor([1.0, 0, 0]), atol=0.006, rtol=0)
    assert x[0, 1].tolist() == [0, 0, 0]
    torch.testing.assert_close(x[0, 2, :2], torch.tensor([-math.sqrt(0.5)] * 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(x[0, [0, 2]].norm(dim=-1), torch.ones(2))


def test_black_and_white_are_no_normals(tmp_path):
    values = np.array([[[0, 0, 0], [255, 255, 255], [127, 127, 255]]], np.uint8)
    x = read_picture(write_png(tmp_path / "a.png", values), PictureStream(kind="normal"))
    assert x.any(-1).tolist() == [[False, False, True]]


def test_fractions_beyond_1_are_no_normals(tmp_path):
    np.save(tmp_path / "a.npy", np.full((2, 2, 3), 200, np.float32))
    with pytest.raises(Unusable, match="from 200 to 200, expected normals from -1 to 1"):
        read_picture(tmp_path / "a.npy", PictureStream(kind="normal"))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64"])
def test_colours_to_255_are_shares_in_any_whole_numbers(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.array([[[0, 51, 255]]], dtype))
    torch.testing.assert_close(read_picture(tmp_path / "a.npy", AUTO), torch.tensor([[[0, 0.2, 1]]]))


def test_gray_of_a_colour_is_its_luma_and_a_gray_picture_is_all_three_colours(tmp_path):
    path = write_png(tmp_path / "a.png", np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8))
    torch.testing.assert_close(read_picture(path, PictureStream(kind="gray"))[0, :, 0], torch.tensor([0.299, 0.587]))
    gray = write_png(tmp_path / "b.png", np.array([[51]], np.uint8))
    torch.testing.assert_close(read_picture(gray, PictureStream(kind="color")), torch.full((1, 1, 3), 0.2))


@pytest.mark.parametrize(
    ("values", "kind", "unit"),
    [
        (np.zeros((2, 2), np.uint8), "gray", 0),
        (np.zeros((2, 2, 3), np.uint8), "color", 0),
        (np.zeros((2, 2, 3), np.uint16), "color", 0),
        (np.zeros((2, 2), np.uint16), "depth", 0.001),
        (np.zeros((2, 2), np.float32), "depth", 1),
    ],
)
def test_kind_and_unit_are_as_the_numbers_say(tmp_path, values, kind, unit):
    np.save(tmp_path / "a.npy", values)
    stream = resolved(read_raw(tmp_path / "a.npy"), AUTO)
    assert (stream.kind, stream.unit) == (kind, unit)


def test_most_pictures_decide_what_a_stream_shows(tmp_path):
    for i, shape in enumerate([(2, 2), (2, 2, 3), (2, 2, 3)]):
        np.save(tmp_path / f"{i}.npy", np.zeros(shape, np.uint8))
    assert common([read_raw(tmp_path / f"{i}.npy") for i in range(3)], AUTO).kind == "color"


def test_colours_outside_0_to_1_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.full((2, 2, 3), -0.5, np.float32))
    with pytest.raises(Unusable, match=r"values from -0\.5 to -0\.5, expected 0 to 1"):
        read_picture(tmp_path / "a.npy", AUTO)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "close"),
    [("a.tif", "tiff", "rgb24", 0), ("a.bmp", "bmp", "bgr24", 0), ("a.ppm", "ppm", "rgb24", 0),
     ("a.jpg", "mjpeg", "yuvj444p", 0.03), ("a.webp", "libwebp", "yuv420p", 0.06)],
)  # fmt: skip
def test_other_formats_are_read(tmp_path, name, codec, pix_fmt, close):
    values = np.broadcast_to(np.linspace(0, 255, 32)[:, None, None], (32, 32, 3)).astype(np.uint8).copy()
    x = read_picture(encoded(tmp_path / name, values, codec, pix_fmt, "rgb24"), AUTO)
    torch.testing.assert_close(x, torch.tensor(values / 255, dtype=torch.float32), atol=close + 1e-6, rtol=0)


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), [("a.tif", "tiff", "gray16le"), ("a.pgm", "pgm", "gray16be")])
def test_depth_in_other_formats_keeps_16_bits(tmp_path, name, codec, pix_fmt):
    values = np.arange(0, 60000, 100, dtype=np.uint16).reshape(20, 30)
    x = read_picture(encoded(tmp_path / name, values, codec, pix_fmt, "gray16le"), AUTO)
    torch.testing.assert_close(x[..., 0], torch.tensor(values * 0.001, dtype=torch.float32))


def test_a_photo_is_turned_upright_as_its_exif_says(tmp_path):
    values = np.zeros((16, 8, 3), np.uint8)
    values[:8] = 255
    path = encoded(tmp_path / "a.jpg", values, "mjpeg", "yuvj444p", "rgb24")
    tags = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6: the top is at the right
    exif = b"Exif\0\0" + tags
    content = path.read_bytes()
    path.write_bytes(content[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + content[2:])
    x = read_picture(path, AUTO)
    assert x.shape == (8, 16, 3)
    assert x[:, :7].max() < 0.1 < 0.9 < x[:, 9:].min()


def test_a_key_names_the_array(tmp_path):
    np.savez(tmp_path / "a.npz", rgb=np.zeros((2, 3, 3), np.uint8), depth=np.full((2, 3), 2000, np.uint16))
    assert read_picture("a.npz#depth", AUTO, root=tmp_path)[0, 0].tolist() == [2, 1]


def test_far_more_pixels_than_the_file_holds_are_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSEFUSE_BEYOND_GB", "0.0001")
    path = write_png(tmp_path / "a.png", np.zeros((300, 300), np.uint8))
    with pytest.raises(Unusable, match=r"a\.png: declares far more pixels than its file holds"):
        read_picture(path, AUTO)


def test_broken_files_are_named(tmp_path):
    whole = write_png(tmp_path / "a.png", ramp("uint8", 40, 40, 3, top=255)).read_bytes()
    contents = {
        "cut.png": whole[: len(whole) // 2],
        "text.png": b"no picture",
        "empty.png": b"",
        "head.png": whole[:40] + b"IEND",
        "lies.png": whole.replace(b"\0\0\0\x28\0\0\0\x28", b"\0\0\x28\0\0\0\x28\0"),
        "pickle.pkl": b"\x80\x04N.",
        "name.txt": b"x",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Unusable, match=name):
            read_picture(name, AUTO, root=tmp_path)
    with pytest.raises(Unusable, match=r"gone\.png: missing"):
        read_picture("gone.png", AUTO, root=tmp_path)


def test_a_photo_that_was_cut_short_is_refused(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = encoded(tmp_path / "a.jpg", values, "mjpeg", "yuvj444p", "rgb24")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(Unusable, match=r"a\.jpg: was cut short"):  # FFmpeg would fill it up with gray
        read_picture(path, AUTO)


def test_a_file_of_another_kind_is_told_from_one_that_is_broken(tmp_path):
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    with pytest.raises(Unusable, match=r"a\.gif: unknown picture file type '\.gif'.* available: \.bmp, \.h5"):
        read_picture("a.gif", AUTO, root=tmp_path)
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0" + bytes(60))
    with pytest.raises(Unusable, match=r"a\.tif: cannot be decoded .* save it as \.npy"):
        read_picture("a.tif", AUTO, root=tmp_path)
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(Unusable, match=r"a\.pkl: a pickle can run code"):
        read_picture("a.pkl", AUTO, root=tmp_path)


def test_every_byte_of_a_picture_may_be_wrong(tmp_path):
    whole = write_png(tmp_path / "a.png", ramp("uint16", 4, 4, top=65535)).read_bytes()
    for place in range(0, len(whole), 3):
        (tmp_path / "b.png").write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(Unusable):
            read_picture(tmp_path / "b.png", AUTO)


def test_unmeasured_depth_is_the_mean_after_normalising():
    fields = {"depth": torch.tensor([[[3.0, 1], [0, 0]]]), "rgb": torch.tensor([[[0.5, 0.5, 1.0]]])}
    stats = {
        "depth": (torch.tensor([2.0, 0]), torch.tensor([0.5, 1])),
        "rgb": (torch.full((3,), 0.5), torch.full((3,), 0.25)),
    }
    done = normalised(fields, stats)
    assert done["depth"].tolist() == [[[2, 1], [0, 0]]]
    assert done["rgb"].tolist() == [[[0, 0, 2]]]
