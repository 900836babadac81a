"""Which files are read: 16 bits in every layout, several frames, and formats that need a library of their own."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtimes import InputError, open_photograph
from runtimes.installation import installed
from runtimes.photographs import READABLE, SUFFIXES, foreign, read_rgb
from tests.photograph_files import png
from tests.test_photographs import smooth

RNG = np.random.default_rng(0)


def deep(channels: int) -> np.ndarray:
    return RNG.integers(0, 65536, (40, 56, channels)).astype(np.uint16)


def tiff(codes: np.ndarray, order: str, *, planar: bool, compressed: bool, extra: int | None = None) -> bytes:
    """A TIFF of 16 bits in strips of 16 rows, byte by byte: Pillow writes none."""
    height, width, samples = codes.shape
    pictures = codes.transpose(2, 0, 1)[..., None] if planar else codes[None]
    strips = [
        picture[top : top + 16].astype(f"{order}u2").tobytes() for picture in pictures for top in range(0, height, 16)
    ]
    strips = [zlib.compress(strip) for strip in strips] if compressed else strips
    offsets = [8 + sum(map(len, strips[:n])) for n in range(len(strips))]
    body = b"".join(strips)
    body += bytes(len(body) % 2)
    values: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", [16] * samples), 259: ("H", [8 if compressed else 1]),
        262: ("H", [2 if samples > 2 else 1]), 273: ("I", offsets), 277: ("H", [samples]), 278: ("I", [16]),
        279: ("I", list(map(len, strips))), 284: ("H", [2 if planar else 1]),
    }  # fmt: skip
    if extra is not None:
        values[338] = ("H", [extra])
    table, more = b"", b""
    start = 8 + len(body) + 2 + 12 * len(values) + 4
    for tag, (kind, numbers) in values.items():
        data = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
        if len(data) > 4:
            data, more = struct.pack(f"{order}I", start + len(more)), more + data
        table += struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, len(numbers)) + data.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(body))
    return head + body + struct.pack(f"{order}H", len(values)) + table + bytes(4) + more


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_every_layout_of_16_bits_in_tiff(tmp_path: Path, order: str, planar: bool, compressed: bool) -> None:
    codes = deep(3)
    (tmp_path / "a.tif").write_bytes(tiff(codes, order, planar=planar, compressed=compressed))
    photo = open_photograph(tmp_path / "a.tif")
    np.testing.assert_array_equal(photo.own, codes)
    np.testing.assert_array_equal(photo.seen, np.floor(codes / 257 + 0.5))
    photo.write(tmp_path / "b.tif")
    np.testing.assert_array_equal(open_photograph(tmp_path / "b.tif").own, codes)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("extra", [1, 2])
def test_alpha_of_16_bits_in_tiff(tmp_path: Path, planar: bool, extra: int) -> None:
    codes = deep(4)
    codes[..., 3] |= 0x8000
    stored = codes.copy()
    if extra == 1:  # multiplied into the colours
        stored[..., :3] = np.rint(codes[..., :3] * (codes[..., 3:] / 65535))
    (tmp_path / "a.tif").write_bytes(tiff(stored, "<", planar=planar, compressed=False, extra=extra))
    photo = open_photograph(tmp_path / "a.tif")
    assert np.abs(photo.own.astype(int) - codes[..., :3]).max() <= (1 if extra == 1 else 0)
    np.testing.assert_array_equal(photo.alpha, codes[..., 3])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits_comes_back(tmp_path: Path, channels: int) -> None:
    codes = deep(channels)
    (tmp_path / "a.png").write_bytes(png(codes))
    photo = open_photograph(tmp_path / "a.png")
    photo.write(tmp_path / "b.png")
    for each in (photo, open_photograph(tmp_path / "b.png")):
        assert each.own is not None
        np.testing.assert_array_equal(each.own, codes[..., : 1 if channels < 3 else 3])
        if channels in {2, 4}:
            np.testing.assert_array_equal(each.alpha, codes[..., -1])


@pytest.mark.parametrize("form", ["TIFF", "PNG", "WEBP", "GIF", "AVIF"])
def test_several_frames_are_refused(tmp_path: Path, form: str) -> None:
    frames = [Image.fromarray(np.roll(smooth(), 9 * n, axis=1)) for n in range(3)]
    path = tmp_path / f"a.{form.lower()}"
    frames[0].save(path, format=form, save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=f"a.{form.lower()} should hold one picture but holds 3; save each"):
        open_photograph(path)
    assert read_rgb(path).shape == (40, 56, 3)


def test_a_smaller_copy_in_a_tiff_is_no_page(tmp_path: Path) -> None:
    copy = Image.fromarray(smooth()[::2, ::2])
    copy.encoderinfo = {"tiffinfo": {0x00FE: 1}}
    Image.fromarray(smooth()).save(tmp_path / "a.tif", save_all=True, append_images=[copy])
    np.testing.assert_array_equal(open_photograph(tmp_path / "a.tif").own, smooth())


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.heic", HEIC, r"is HEIC, which needs pillow-heif; install it with: pip install .*heif"),
        ("a.jpg", HEIC, r"is HEIC, which needs pillow-heif; install it with: pip install .*heif"),
        ("a.nef", b"MM\0*" + bytes(100), r"is a camera's raw file, which needs rawpy; install it with: pip .*raw"),
    ],
)
def test_a_missing_decoder_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, reason: str
) -> None:
    monkeypatch.setattr(foreign, "installed", lambda library: False)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=reason) as caught:
        open_photograph(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


@pytest.mark.skipif(not installed("pillow_heif"), reason="pillow-heif is not installed")
def test_heic_comes_back(tmp_path: Path) -> None:
    import pillow_heif

    assert ".heic" in SUFFIXES
    pillow_heif.from_pillow(Image.fromarray(smooth())).save(tmp_path / "a.heic", quality=95, chroma=444)
    photo = open_photograph(tmp_path / "a.heic")
    assert np.abs(photo.seen.astype(int) - smooth()).mean() < 2
    photo.write(tmp_path / "b.heic", quality=95)
    assert np.abs(open_photograph(tmp_path / "b.heic").seen.astype(int) - smooth()).mean() < 3
    (tmp_path / "c.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:300])
    with pytest.raises(InputError, match=r"c\.heic should be a photograph but cannot be read"):
        open_photograph(tmp_path / "c.heic")


@pytest.mark.skipif(not installed("rawpy"), reason="rawpy is not installed")
def test_a_damaged_raw_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.nef").write_bytes(b"MM\0*" + bytes(100))
    with pytest.raises(InputError, match=r"a\.nef should be a photograph but cannot be read \(LibRaw: .*\); replace"):
        open_photograph(tmp_path / "a.nef")


def test_whatever_is_written_is_read() -> None:
    assert set(SUFFIXES) < set(READABLE)
