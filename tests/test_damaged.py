"""Damaged and hostile files: the whole picture where it can be had, else one sentence, and never a warning."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import ExifTags, Image, features

from runtimes import InputError, enhance_video, open_photograph
from tests.folders import picture
from tests.photograph_files import chunk, png
from tests.test_photographs import noise, smooth
from tests.tiny_models import NumpyRuntime, make_spec


def test_truncated_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    buffer = io.BytesIO()
    Image.fromarray(noise(200, 200)).save(buffer, format="JPEG")
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    _refused(path, "truncated")


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=95, **options)
    return buffer.getvalue()


def test_a_progressive_jpeg_without_its_end_is_refused(tmp_path: Path) -> None:
    """Whole scans may be missing, which no decoder tells: only the picture is blurred."""
    whole = jpeg(noise(64, 64), progressive=True)
    last_scan = whole.rindex(b"\xff\xda")
    for end in (-2, last_scan):
        (tmp_path / "cut.jpg").write_bytes(whole[:end])
        _refused(tmp_path / "cut.jpg", "truncated")


@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_without_its_end_marker_is_whole(tmp_path: Path, missing: int) -> None:
    whole = jpeg(noise(64, 64))
    (tmp_path / "whole.jpg").write_bytes(whole)
    (tmp_path / "cut.jpg").write_bytes(whole[:-missing])
    np.testing.assert_array_equal(
        open_photograph(tmp_path / "cut.jpg").seen, open_photograph(tmp_path / "whole.jpg").seen
    )


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [12, 100, 1000])
def test_a_jpeg_without_its_last_pixels_is_refused(tmp_path: Path, missing: int, progressive: bool) -> None:
    (tmp_path / "cut.jpg").write_bytes(jpeg(noise(64, 64), progressive=progressive)[:-missing])
    _refused(tmp_path / "cut.jpg", "truncated")


def test_a_png_with_damaged_transparency_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clear.png").write_bytes(png(noise(), chunk(b"tRNS", b"\0\1\0\2\0\3", crc=0)))
    _refused(tmp_path / "clear.png", "replace the file")


def test_a_png_with_a_damaged_comment_is_whole(tmp_path: Path) -> None:
    pixels = noise()
    (tmp_path / "comment.png").write_bytes(png(pixels, chunk(b"tEXt", b"Comment\0damaged", crc=0)))
    np.testing.assert_array_equal(open_photograph(tmp_path / "comment.png").seen, pixels)


@pytest.mark.parametrize("kind", [b"IDAT", b"IHDR", b"PLTE"])
def test_a_damaged_png_is_refused(tmp_path: Path, kind: bytes) -> None:
    palette = io.BytesIO()
    Image.fromarray(smooth()).quantize(16).save(palette, format="PNG")
    data = bytearray(palette.getvalue())
    data[data.index(kind) + 8] ^= 0x55
    (tmp_path / "damaged.png").write_bytes(data)
    _refused(tmp_path / "damaged.png", "replace the file")


def test_a_png_without_its_palette_is_refused(tmp_path: Path) -> None:
    palette = io.BytesIO()
    Image.fromarray(smooth()).quantize(16).save(palette, format="PNG")
    data = palette.getvalue()
    at = data.index(b"PLTE") - 4
    length = 12 + int.from_bytes(data[at : at + 4], "big")
    (tmp_path / "bare.png").write_bytes(data[:at] + data[at + length :])
    _refused(tmp_path / "bare.png", "palette")


def test_exif_beyond_its_end_costs_neither_the_photograph_nor_a_warning(tmp_path: Path) -> None:
    whole = jpeg(smooth(), exif=b"Exif\0\0II*\0\xff\xff\0\0")
    (tmp_path / "broken.jpg").write_bytes(whole)
    photo = open_photograph(tmp_path / "broken.jpg")
    assert np.abs(photo.seen.astype(int) - smooth()).max() <= 12
    assert photo.original.exif is None


def test_damaged_tags_of_a_tiff_cost_no_warning(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(smooth()).save(buffer, format="TIFF", description="a word that lies outside of its entry")
    data = buffer.getvalue()
    entry = data.index(struct.pack("<HH", ExifTags.Base.ImageDescription, 2))
    (tmp_path / "tags.tif").write_bytes(data[: entry + 4] + struct.pack("<I", 10**6) + data[entry + 8 :])
    try:
        seen = open_photograph(tmp_path / "tags.tif").seen
    except InputError:
        assert PIL.__version__ < "12"  # the oldest refuses it
    else:
        np.testing.assert_array_equal(seen, smooth())


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_what_a_decoder_says_becomes_one_sentence(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(smooth()).save(buffer, format="AVIF")
    data, start = buffer.getvalue(), buffer.getvalue().index(b"mdat") + 4
    (tmp_path / "a.avif").write_bytes(data[:start] + bytes(30) + data[start + 30 :])
    _refused(tmp_path / "a.avif", "replace the file")


def test_a_large_photograph_costs_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(noise()).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow warns from here on, and refuses from 2000 on
    assert open_photograph(tmp_path / "large.png").seen.shape == (40, 56, 3)
    assert Image.MAX_IMAGE_PIXELS == 1000


@pytest.mark.parametrize("name", ["text.png", "empty.jpg"])
def test_no_image(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("hello" if name == "text.png" else "")
    _refused(tmp_path / name, "has a format that cannot be read")


def test_missing_file(tmp_path: Path) -> None:
    _refused(tmp_path / "absent.png", "does not exist")


def test_decompression_bomb(tmp_path: Path) -> None:
    Image.fromarray(noise(1001, 1000)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match=r"at most 1 megapixels but has 1000 x 1001 px; reduce it"):
        open_photograph(tmp_path / "bomb.png", max_megapixels=1)


def _refused(path: Path, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        open_photograph(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_damaged_exif_does_not_cost_the_photograph(tmp_path: Path) -> None:
    Image.fromarray(smooth()).save(tmp_path / "odd.png", exif=b"Exif\0\0garbage that is no TIFF header")
    photo = open_photograph(tmp_path / "odd.png")
    np.testing.assert_array_equal(photo.seen, smooth())
    assert photo.original.exif is None


def changed_clip(folder: Path, old: bytes, new: bytes) -> Path:
    """A video with other bytes of the same number in the place of some."""
    pytest.importorskip("av", reason="needs PyAV")
    from tests.clips import write_clip

    path = folder / "a.mkv"
    write_clip(path, [picture(number, 48, 64) for number in range(4)])
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


def test_a_video_whose_title_is_no_utf_8(tmp_path: Path) -> None:
    path = changed_clip(tmp_path, b"Title", b"T\xfftle")
    enhance_video(path, tmp_path / "b.mkv", NumpyRuntime(lambda batch: batch, make_spec(width=0)))
    from tests.clips import facts

    assert facts(tmp_path / "b.mkv").title == "T\ufffdtle"


def test_a_video_with_sound_of_an_unknown_codec(tmp_path: Path) -> None:
    path = changed_clip(tmp_path, b"A_AAC", b"A_XYZ")
    with pytest.raises(InputError, match=r"hold its sound \(of an unknown codec\) but its suffix"):
        enhance_video(path, tmp_path / "b.mkv", NumpyRuntime(lambda batch: batch, make_spec(width=0)))
