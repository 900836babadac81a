"""Photographs: all kinds of files are read as upright 8-bit RGB and written with their alpha and EXIF."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps, features

from runtimes import InputError, Photograph, find_photographs, open_photograph
from runtimes.photographs.encoding import FORMATS
from runtimes.photographs.original import Original

ORIENTATION = ExifTags.Base.Orientation
RNG = np.random.default_rng(0)


def smooth(h: int = 40, w: int = 56) -> np.ndarray:
    """A smooth picture, which JPEG changes by a few codes only."""
    y, x = np.mgrid[0:h, 0:w]
    return np.stack([255 * x / w, 255 * y / h, 128 + 0 * x], axis=2).astype(np.uint8)


def noise(h: int = 40, w: int = 56, channels: int = 3) -> np.ndarray:
    return RNG.integers(0, 256, (h, w, channels), np.uint8).squeeze()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[ExifTags.Base.Make] = "Camera"
    path = tmp_path / "turned.jpg"
    Image.fromarray(smooth()).save(path, exif=exif, quality=95, subsampling=0)
    photo = open_photograph(path)
    with Image.open(path) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored))
    assert photo.seen.shape == ((56, 40, 3) if orientation >= 5 else (40, 56, 3))
    np.testing.assert_array_equal(photo.seen, upright)

    again = tmp_path / "again.jpg"
    photo.write(again)
    with Image.open(again) as stored:
        assert stored.getexif()[ORIENTATION] == 1
        assert stored.getexif()[ExifTags.Base.Make] == "Camera"
    assert np.abs(open_photograph(again).seen.astype(int) - photo.seen).max() <= 12


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_comes_back(tmp_path: Path, suffix: str) -> None:
    rgba = np.dstack([smooth(), RNG.integers(1, 256, (40, 56), np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "in.png")
    photo = open_photograph(tmp_path / "in.png")
    np.testing.assert_array_equal(photo.seen, rgba[..., :3])
    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha, rgba[..., 3])

    photo.write(tmp_path / f"out{suffix}")
    again = open_photograph(tmp_path / f"out{suffix}")
    assert again.alpha is not None
    np.testing.assert_array_equal(again.alpha, rgba[..., 3])
    if suffix != ".webp":
        np.testing.assert_array_equal(again.seen, photo.seen)


def test_jpeg_drops_the_alpha_and_keeps_the_chroma(tmp_path: Path) -> None:
    Photograph(smooth(), alpha=np.zeros((40, 56), np.uint8)).write(tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as stored:
        assert stored.mode == "RGB"
        assert {layer[1:3] for layer in stored.layer} == {(1, 1)}  # no channel is subsampled


def test_grey_and_grey_with_alpha(tmp_path: Path) -> None:
    grey, alpha = noise(channels=1), noise(channels=1)
    Image.fromarray(grey).save(tmp_path / "l.png")
    Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]).save(tmp_path / "la.png")
    plain, with_alpha = open_photograph(tmp_path / "l.png"), open_photograph(tmp_path / "la.png")
    for photo, visible in ((plain, grey >= 0), (with_alpha, alpha > 0)):
        np.testing.assert_array_equal(photo.seen[visible], np.repeat(grey[..., None], 3, axis=2)[visible])
        np.testing.assert_array_equal(photo.own[..., 0], grey)
    assert plain.alpha is None
    np.testing.assert_array_equal(with_alpha.alpha, alpha)


@pytest.mark.parametrize("transparent", [False, True])
def test_palette(tmp_path: Path, transparent: bool) -> None:
    indices = RNG.integers(0, 4, (40, 56), np.uint8)
    colours = noise(1, 4)
    image = Image.frombytes("P", (56, 40), indices.tobytes())
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "p.png", **({"transparency": 2} if transparent else {}))
    photo = open_photograph(tmp_path / "p.png")
    np.testing.assert_array_equal(photo.own, colours[indices])
    if transparent:
        np.testing.assert_array_equal(photo.seen[indices != 2], colours[indices][indices != 2])
        np.testing.assert_array_equal(photo.alpha, np.where(indices == 2, 0, 255))
    else:
        assert photo.alpha is None


def test_bilevel(tmp_path: Path) -> None:
    bits = RNG.integers(0, 2, (40, 56)).astype(bool)
    Image.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(open_photograph(tmp_path / "bits.png").seen[..., 1], np.where(bits, 255, 0))


def test_cmyk(tmp_path: Path) -> None:
    cmyk = Image.fromarray(smooth()).convert("CMYK")
    cmyk.save(tmp_path / "cmyk.tif")
    np.testing.assert_array_equal(open_photograph(tmp_path / "cmyk.tif").seen, smooth())
    cmyk.save(tmp_path / "cmyk.jpg", quality=100)
    assert np.abs(open_photograph(tmp_path / "cmyk.jpg").seen.astype(int) - smooth()).max() <= 10


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled_and_rounded(tmp_path: Path, suffix: str) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / f"deep{suffix}")
    with Image.open(tmp_path / f"deep{suffix}") as stored:
        assert stored.mode.startswith("I")
    expected = np.repeat(np.floor(values.astype(np.float64) / 257 + 0.5)[..., None], 3, axis=2)
    np.testing.assert_array_equal(open_photograph(tmp_path / f"deep{suffix}").seen, expected)


def test_sixteen_bits_turned(tmp_path: Path) -> None:
    values = RNG.integers(0, 65536, (24, 40)).astype(np.uint16)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(values).save(tmp_path / "deep.png", exif=exif)
    np.testing.assert_array_equal(
        open_photograph(tmp_path / "deep.png").seen[..., 0], np.floor(np.rot90(values, -1) / 257 + 0.5)
    )


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((16, 16), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(InputError, match=r"float\.tif should hold whole numbers but holds floating point; save it"):
        open_photograph(tmp_path / "float.tif")


def test_colour_profile_becomes_srgb(tmp_path: Path) -> None:
    Image.fromarray(smooth()).save(tmp_path / "tagged.png", icc_profile=_swapped_profile())
    photo = open_photograph(tmp_path / "tagged.png")
    expected = smooth()[..., [2, 1, 0]].astype(int)  # that profile calls blue what sRGB calls red
    assert np.abs(photo.seen - expected).max() <= 3


@pytest.mark.parametrize(
    "profile", [b"no profile at all", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()]
)
def test_unusable_profile_is_ignored(tmp_path: Path, profile: bytes) -> None:
    Image.fromarray(smooth()).save(tmp_path / "bad.png", icc_profile=profile)
    np.testing.assert_array_equal(open_photograph(tmp_path / "bad.png").seen, smooth())


def _swapped_profile() -> bytes:
    """Return an sRGB profile whose red and blue are exchanged, by swapping the names rXYZ and bXYZ of its tags."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    count = struct.unpack(">I", profile[128:132])[0]
    table = bytearray(profile[132 : 132 + 12 * count])
    for index in range(0, len(table), 12):
        name = bytes(table[index : index + 4])
        table[index : index + 4] = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(name, name)
    return profile[:132] + bytes(table) + profile[132 + 12 * count :]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".PNG", ".bmp"])
def test_write_and_read(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Someone"
    path = tmp_path / f"out{suffix}"
    path.write_text("an older file")
    Photograph(smooth(), original=Original(exif=exif.tobytes()[6:])).write(path)
    again = open_photograph(path)
    lossless = suffix.lower() in {".png", ".tif", ".tiff", ".bmp"}
    assert np.abs(again.seen.astype(int) - smooth()).max() <= (0 if lossless else 12)
    loaded = Image.Exif()
    loaded.load(again.original.exif)
    assert loaded.get(ExifTags.Base.Artist) == (None if suffix == ".bmp" else "Someone")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # no temporary file stays


def test_write_refuses_other_suffixes(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"out\.gif should end in one of \.jpg, \.jpeg, .*\.webp, .* but ends in \.gif; rename"
    ):
        Photograph(smooth()).write(tmp_path / "out.gif")


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
@pytest.mark.parametrize("upright", [False, True])
def test_the_longest_photograph_of_a_format(tmp_path: Path, suffix: str, upright: bool) -> None:
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    longest = FORMATS[suffix].longest
    assert longest is not None
    path = tmp_path / f"long{suffix}"
    for length in (longest, longest + 1):
        codes = np.zeros((length, 8, 3) if upright else (8, length, 3), np.uint8)
        if length == longest:
            Photograph(codes).write(path)
            assert open_photograph(path).seen.shape == codes.shape
            path.unlink()
        else:
            with pytest.raises(InputError, match=r"write a \.png or \.tif file"):
                Photograph(codes).write(path)
    assert list(tmp_path.iterdir()) == []


def test_failed_write_keeps_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.png"
    Photograph(smooth()).write(path)
    before = path.read_bytes()

    write_bytes = Path.write_bytes

    def fail(target: Path, data: bytes) -> None:
        write_bytes(target, data[:10])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(InputError, match="disk full"):
        Photograph(noise()).write(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["out.png"]


def test_find_photographs(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.tiff", "notes.txt", "._a.png"):
        (tmp_path / name).touch()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "d.png").touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in find_photographs(tmp_path)] == ["a.png", "b.JPG", "c.tiff"]
    assert find_photographs(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    with pytest.raises(InputError, match="holds none"):
        find_photographs(tmp_path / "folder.png")
    with pytest.raises(InputError, match="does not exist"):
        find_photographs(tmp_path / "absent")
