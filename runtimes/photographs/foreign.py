"""Formats that need a library of their own: HEIC by pillow-heif, and cameras' raw files by rawpy (LibRaw).

Each is imported only when such a file comes.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.installation import EXTRAS, install_hint, installed
from runtimes.photographs import exif, jpeg, tags, tiff
from runtimes.photographs.pixels import UnsupportedError

# What LibRaw is told: white as the camera says, nothing brightened or recovered, and sRGB's power and slope
NEUTRAL: dict[str, Any] = {
    "use_camera_wb": True, "no_auto_bright": True, "adjust_maximum_thr": 0.0, "gamma": (2.4, 12.92)
}  # fmt: skip
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
RAW_SUFFIXES = (
    ".3fr", ".arw", ".cr2", ".cr3", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw",
    ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_DNG_VERSION = 0xC612
# One thread a photograph, as several are written at once; x265's presets differ by 10 % in size and by 8 times in time.
_X265 = {"preset": "ultrafast", "x265:pools": "none", "x265:wpp": "0", "x265:frame-threads": "1"}


class Developed(NamedTuple):
    """A camera's raw file as a picture."""

    codes: NDArray[np.uint16]
    """H x W x 3, sRGB, upright."""
    exif: bytes | None


def is_heif(stream: BinaryIO) -> bool:
    """Whether a file is HEIC or its relative, by its content; AVIF, which Pillow reads, is none."""
    stream.seek(0)
    head = stream.read(64)
    brands = {head[8:12], *(head[place : place + 4] for place in range(16, 64, 4))}
    return head[4:8] == b"ftyp" and b"avif" not in brands and bool(brands & _BRANDS)


def is_raw(stream: BinaryIO, suffix: str) -> bool:
    """Whether a file is a camera's raw file: by its suffix, or as DNG by its content."""
    stream.seek(0)
    head = stream.read(16)
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG")):
        return False
    if suffix in RAW_SUFFIXES:
        return True
    stream.seek(0)
    if not head.startswith((b"II*\0", b"MM\0*")):
        return False
    return _DNG_VERSION in tags.parsed(stream.read())[1]


def open_heif(stream: BinaryIO) -> Image.Image:
    """Open a HEIC picture, upright and not decoded yet.

    Errors: UnsupportedError without pillow-heif, and for several pictures.
    """
    _require("pillow_heif", "HEIC")
    import pillow_heif  # noqa: PLC0415

    stream.seek(0)
    found = pillow_heif.open_heif(io.BytesIO(stream.read()))
    if len(found) > 1:
        raise UnsupportedError(f"should hold one picture but holds {len(found)}; save each as a file of its own")
    return _Heif(found)


class _Heif(Image.Image):
    """A HEIC picture that is decoded when it is loaded, as Pillow's own formats are."""

    format = "HEIF"

    def __init__(self, found: Any) -> None:
        super().__init__()
        self._found = found
        self._mode, self._size, self.info = found.mode, found.size, dict(found.info)

    def load(self) -> Any:
        if self._found is not None:
            found, self._found = self._found.to_pillow(), None
            self.im, self.info, self._mode = found.im, found.info, found.mode
        return super().load()


def encode_heif(image: Image.Image, quality: int, chroma: int, packets: dict[str, bytes | None]) -> bytes:
    """Encode a picture as HEIC. chroma: 444, 422 or 420."""
    import pillow_heif  # noqa: PLC0415

    image.info = {name: value for name, value in packets.items() if value is not None}
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=quality, chroma=chroma, enc_params=dict(_X265))
    return buffer.getvalue()


def writes_heif() -> bool:
    """Whether HEIC can be written here."""
    return installed("pillow_heif")


def develop(stream: BinaryIO, check_size: Callable[[int, int], None]) -> Developed:
    """Develop a camera's raw file neutrally: its own white balance, no brightening, the curve of sRGB.

    check_size: is called with width and height in px before the work, and may raise.

    Errors: UnsupportedError without rawpy; rawpy.LibRawError, an OSError here, if the file is damaged.
    """
    _require("rawpy", "a camera's raw file")
    import rawpy  # noqa: PLC0415

    stream.seek(0)
    data = stream.read()
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            check_size(raw.sizes.width, raw.sizes.height)
            codes = raw.postprocess(output_bps=16, **NEUTRAL)
            block = _exif_of(data) or _exif_of_preview(rawpy, raw)
    except rawpy.LibRawError as error:
        raise OSError(f"LibRaw: {_words(error)}") from error
    return Developed(codes, block)


def _exif_of(data: bytes) -> bytes | None:
    order, directory = tags.parsed(data)
    described = tiff.describing(directory)
    exif.without_fixed_maker_note(described)
    return exif.block_of(order, described)


def _exif_of_preview(rawpy: Any, raw: Any) -> bytes | None:
    try:
        preview = raw.extract_thumb()
    except rawpy.LibRawError:
        return None
    return jpeg.parts(preview.data).first(jpeg.EXIF) if preview.format is rawpy.ThumbFormat.JPEG else None


def _words(error: Exception) -> str:
    said = error.args[0] if error.args else error
    return (said.decode(errors="replace") if isinstance(said, bytes) else str(said)).strip()


def _require(library: str, kind: str) -> None:
    if not installed(library):
        hint = install_hint(EXTRAS[library])
        raise UnsupportedError(f"is {kind}, which needs {library.replace('_', '-')}; install it with: {hint}")
