"""What a file holds beside its pixels comes back, and is true of the written photograph."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, JpegImagePlugin

from runtimes import open_photograph
from tests.photograph_files import chunk, png, profile
from tests.test_photographs import smooth

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmp:Rating="4" tiff:Orientation="6"><dc:a>invented</dc:a></x:xmpmeta>'
RESOURCES = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x78\0\x03abc"
TITLE = chunk(b"tEXt", b"Title\0invented")


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def jpeg(*segments: bytes, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(smooth()).save(buffer, format="JPEG", **({"quality": 90, "subsampling": 0} | options))
    data = buffer.getvalue()
    return data[:20] + b"".join(segments) + data[20:]  # after JFIF's segment


def camera_exif(orientation: int, order: str = "<") -> bytes:
    """EXIF with a maker note that points to itself by an offset from the start, and a thumbnail."""
    pack = lambda form, *values: struct.pack(order + form, *values)  # noqa: E731
    note = pack("HHHIII", 1, 1, 2, 8, 148, 0) + b"invented"
    first = [(0x010F, 2, 4, b"Cam\0"), (0x0112, 3, 1, pack("HH", orientation, 0)), (0x8769, 4, 1, pack("I", 62))]
    camera = [(0x927C, 7, len(note), pack("I", 130)), (0xA002, 4, 1, pack("I", 56)), (0xA003, 4, 1, pack("I", 40))]
    thumb = [(0x0201, 4, 1, pack("I", 200)), (0x0202, 4, 1, pack("I", 50))]

    def directory(entries: list[tuple[int, int, int, bytes]], following: int) -> bytes:
        return pack("H", len(entries)) + b"".join(pack("HHI", *e[:3]) + e[3] for e in entries) + pack("I", following)

    block = (b"II" if order == "<" else b"MM") + pack("HI", 42, 8) + directory(first, 170)
    block = block.ljust(62, b"\0") + directory(camera, 0)
    block = block.ljust(130, b"\0") + note
    return (block.ljust(170, b"\0") + directory(thumb, 0)).ljust(200, b"\0") + b"\xff\xd8" + b"t" * 48


def written(folder: Path, data: bytes, name: str, out: str | None = None) -> tuple[bytes, tuple[str, ...]]:
    """Write a changed photograph and return the new file."""
    (folder / name).write_bytes(data)
    photo = open_photograph(folder / name)
    target = folder / ("out-" + (out or name))
    notes = photo.changed(255 - photo.seen).write(target)
    return target.read_bytes(), notes


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_changed_in_place(tmp_path: Path, order: str) -> None:
    before = camera_exif(6, order)
    data, notes = written(tmp_path, jpeg(segment(0xE1, b"Exif\0\0" + before)), "a.jpg")
    assert notes == ()
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (40, 56)
        after = image.info["exif"][6:]
        exif = image.getexif()
        camera = exif.get_ifd(ExifTags.IFD.Exif)
        assert (exif[0x0112], camera[0xA002], camera[0xA003]) == (1, 40, 56)
        assert not exif.get_ifd(ExifTags.IFD.IFD1)
    assert len(after) == 200  # without the thumbnail
    changed = {n for n in range(170) if before[n] != after[n]}
    assert changed <= {*range(30, 34), *range(46, 50), *range(84, 88), *range(96, 100)}
    assert after[148:156] == b"invented"


def test_a_jpeg_keeps_xmp_iptc_comment_and_resolution(tmp_path: Path) -> None:
    parts = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP), segment(0xED, RESOURCES), segment(0xFE, b"said")
    data, notes = written(tmp_path, jpeg(*parts, dpi=(300, 300)), "a.jpg")
    assert notes == ()
    assert XMP.replace(b'Orientation="6"', b'Orientation="1"') in data
    assert parts[1] in data
    assert parts[2] in data
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["dpi"] == (300, 300)


@pytest.mark.parametrize(("quality", "subsampling"), [(60, 2), (85, 1), (97, 0)])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_keeps_its_quality(tmp_path: Path, quality: int, subsampling: int, progressive: bool) -> None:
    before = jpeg(quality=quality, subsampling=subsampling, progressive=progressive)
    data, _ = written(tmp_path, before, "a.jpg")
    with Image.open(io.BytesIO(before)) as old, Image.open(io.BytesIO(data)) as new:
        assert new.quantization == old.quantization
        assert JpegImagePlugin.get_sampling(new) == subsampling
        assert bool(new.info.get("progressive")) == progressive
    open_photograph(tmp_path / "a.jpg").write(tmp_path / "other.jpg", quality=30)
    with Image.open(tmp_path / "other.jpg") as other:
        assert sum(other.quantization[0]) > sum(old.quantization[0])


@pytest.mark.parametrize("quality", [50, 100])
@pytest.mark.parametrize("progressive", [False, True])
def test_noise_is_written_however_large_it_becomes(tmp_path: Path, quality: int, progressive: bool) -> None:
    """Pillow's buffer for optimized and progressive files is too small for it."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 500, 3)).astype(np.uint8)
    for number, calm in enumerate((False, True)):
        path = tmp_path / f"{number}.jpg"
        picture = Image.fromarray(noise // 255 + 96 if calm else noise)
        picture.save(path, quality=quality, subsampling=0)
        if progressive and (calm or quality < 100):  # else Pillow fails here as well
            picture.save(path, quality=quality, subsampling=0, progressive=True)
        photo = open_photograph(path)
        photo.changed(noise).write(tmp_path / "out.jpg")
        with Image.open(tmp_path / "out.jpg") as image:
            assert np.asarray(image).std() > 40


def with_second_picture(orientation: int = 1, kind: int = 0, *, whole: bool = True) -> tuple[bytes, bytes]:
    """A JPEG with another behind it, an index of both (CIPA DC-007), and XMP that tells of it."""
    second = jpeg(segment(0xE1, b"of its own")) if whole else b"no picture" * 99
    item = b'<i Item:Length="%d"/>' % len(second)
    space = b'<rdf hdrgm:Version="1.0"><Container:Directory a="b">' + item + b"</Container:Directory></rdf>"
    told = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + space)
    exif = segment(0xE1, b"Exif\0\0" + camera_exif(orientation))

    def first(size: int, offset: int) -> bytes:
        images = struct.pack("<IIIHHIIIHH", 0x30000, size, 0, 0, 0, kind, len(second), offset, 0, 0)
        table = struct.pack("<HHHII", 1, 0xB002, 7, 32, 26) + bytes(4)
        return jpeg(exif, told, segment(0xE2, b"MPF\0" + struct.pack("<2sHI", b"II", 42, 8) + table + images))

    size = len(first(0, 0))
    return first(size, size - first(0, 0).index(b"MPF\0") - 4) + second, second


def test_what_follows_the_picture_stays(tmp_path: Path) -> None:
    video = b"\0\0\0\x14ftypmp42" + bytes(500)
    data, notes = written(tmp_path, jpeg() + video, "a.jpg")
    assert notes == ()
    assert data.endswith(b"\xff\xd9" + video)
    assert written(tmp_path, jpeg() + video, "a.jpg", "b.png")[0].count(b"mp42") == 0


def test_a_second_picture_is_found_by_the_index(tmp_path: Path) -> None:
    for orientation in (1, 6):
        before, second = with_second_picture(orientation)
        data, notes = written(tmp_path, before, "a.jpg")
        assert notes == ()
        start = data.index(b"MPF\0") + 4
        _, size, offset = struct.unpack_from("<III", data, start + 26 + 16)
        found = data[start + offset : start + offset + size]
        assert start + offset + size == len(data)
        assert struct.unpack_from("<I", data, start + 30)[0] == len(data) - size
        assert b"hdrgm:Version" in data
        assert b'Item:Length="%d"' % size in data
        assert b"of its own" in found
        assert (found == second) == (orientation == 1)
        with Image.open(io.BytesIO(second)) as old, Image.open(io.BytesIO(found)) as new:
            expected = np.rot90(np.asarray(old), 0 if orientation == 1 else -1).astype(int)
            assert np.abs(np.asarray(new) - expected).max() <= 12


def test_a_second_picture_that_no_longer_fits_is_not_promised(tmp_path: Path) -> None:
    before, second = with_second_picture(orientation=6, whole=False)
    data, notes = written(tmp_path, before, "a.jpg")
    assert any("gain map" in note for note in notes)
    assert second not in data
    assert not any(word in data for word in (b"MPF\0", b"hdrgm:Version", b"Container:Directory"))
    smaller_copy, _ = written(tmp_path, with_second_picture(kind=0x10001)[0], "b.jpg")
    assert second not in smaller_copy
    other, _ = written(tmp_path, with_second_picture()[0], "c.jpg", "c.webp")
    assert not any(word in other for word in (b"hdrgm:Version", b"Container:Directory"))


def test_content_credentials_are_not_handed_on(tmp_path: Path) -> None:
    data, notes = written(tmp_path, jpeg(segment(0xEB, b"JP\0\0jumb c2pa")), "a.jpg")
    assert b"c2pa" not in data
    assert any("credentials" in note for note in notes)


def test_a_png_keeps_its_chunks(tmp_path: Path) -> None:
    dots, time = chunk(b"pHYs", struct.pack(">IIB", 11811, 11811, 1)), chunk(b"tIME", bytes([7, 230, 1, 1, 0, 0, 0]))
    packet = b"XML:com.adobe.xmp\0\0\0\0\0" + XMP
    unsafe = chunk(b"caBX", b"about the old pixels")
    parts = (dots, TITLE, time, chunk(b"eXIf", camera_exif(3)), chunk(b"iTXt", packet), unsafe)
    for pixels in (smooth(), smooth().astype(np.uint16) * 257):
        data, _ = written(tmp_path, png(pixels, *parts), "a.png")
        assert all(part in data for part in (dots, TITLE, time))
        assert b"caBX" not in data
        assert packet.replace(b'Orientation="6"', b'Orientation="1"') in data
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.getexif()[0x0112] == 1


def test_a_tiff_keeps_its_directories(tmp_path: Path) -> None:
    for big in (False, True):
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[0x010F], exif[0x010E], exif[0x02BC] = "Cam", "said", XMP
        exif[ExifTags.IFD.Exif], exif[ExifTags.IFD.GPSInfo] = {0x829A: 0.5}, {1: "N"}
        exif.load(exif.tobytes())  # Pillow writes these directories only if they were read
        Image.fromarray(smooth()).save(buffer, format="TIFF", exif=exif, dpi=(300, 300), big_tiff=big)
        data, notes = written(tmp_path, buffer.getvalue(), "a.tif")
        assert notes == ()
        with Image.open(io.BytesIO(data)) as image:
            again = image.getexif()
            assert again.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
            assert again.get_ifd(ExifTags.IFD.Exif)[0x829A] == 0.5
            assert (image.tag_v2[0x010F], image.tag_v2[0x010E]) == ("Cam", "said")
            assert image.info["dpi"] == (300, 300)
            assert bytes(image.tag_v2[0x02BC]) == XMP.replace(b'Orientation="6"', b'Orientation="1"')
            np.testing.assert_array_equal(np.asarray(image), 255 - np.rot90(smooth(), -1))  # XMP said 6


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif"])
@pytest.mark.parametrize("source", [".jpg", ".png", ".tif", ".webp"])
def test_metadata_goes_from_format_to_format(tmp_path: Path, source: str, suffix: str) -> None:
    icc = profile("p3", None)
    exif = Image.Exif()
    exif[0x013B], exif[0x0112] = "Someone", 1
    Image.fromarray(smooth()).save(tmp_path / f"a{source}", exif=exif, icc_profile=icc, quality=95)
    open_photograph(tmp_path / f"a{source}").write(tmp_path / f"b{suffix}")
    with Image.open(tmp_path / f"b{suffix}") as image:
        image.load()
        assert image.info["icc_profile"] == icc
        assert image.getexif()[0x013B] == "Someone"


def test_a_lossless_webp_stays_lossless(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(smooth()).save(buffer, format="WEBP", lossless=True)
    data, _ = written(tmp_path, buffer.getvalue(), "a.webp")
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image), 255 - smooth())


@pytest.mark.parametrize("suffix", [".jp2", ".bmp"])
def test_what_a_format_cannot_hold_is_said(tmp_path: Path, suffix: str) -> None:
    icc = chunk(b"iCCP", b"p\0\0" + zlib.compress(profile("p3", None)))
    deep = np.dstack([smooth(), smooth()[..., :1]]).astype(np.uint16) * 257
    (tmp_path / "a.png").write_bytes(png(deep, icc, chunk(b"eXIf", camera_exif(1))))
    said = " ".join(open_photograph(tmp_path / "a.png").write(tmp_path / f"b{suffix}"))
    assert "sRGB" in said
    assert "16 bits became 8" in said
    assert "metadata" in said
    assert ("alpha" in said) == (suffix == ".bmp")


ALLOWED = {
    "File:ImageWidth", "File:ImageHeight", "ExifIFD:ExifImageWidth", "ExifIFD:ExifImageHeight", "IFD0:Orientation",
    "Composite:ImageSize", "XMP-tiff:Orientation", "MPImage1:MPImageLength", "MPImage2:MPImageStart",
}  # fmt: skip


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_finds_only_the_changes_that_must_be(tmp_path: Path) -> None:
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
    names = []
    for orientation in range(1, 9):
        exif = segment(0xE1, b"Exif\0\0" + camera_exif(orientation))
        names.append(f"{orientation}.jpg")
        written(tmp_path, jpeg(exif, xmp, segment(0xED, RESOURCES), dpi=(300, 300)), names[-1])
    written(tmp_path, with_second_picture()[0], "mpf.jpg")
    for name in (*names, "mpf.jpg"):
        paths = [tmp_path / name, tmp_path / f"out-{name}"]
        said = subprocess.run(["exiftool", "-j", "-G1", "-a", "-u", *paths], capture_output=True, check=True).stdout
        before, after = json.loads(said)
        changed = {key for key in before | after if before.get(key) != after.get(key)}
        others = {key for key in changed - ALLOWED if not key.startswith(("System:", "IFD1:", "SourceFile"))}
        assert not others, (name, {key: (before.get(key), after.get(key)) for key in others})
