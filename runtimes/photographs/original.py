"""What a photograph's file holds beside its pixels, changed so that it is true for the written photograph."""

from __future__ import annotations

import dataclasses
import functools
import io
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, JpegImagePlugin

from runtimes.photographs import exif, jpeg, png, tags, tiff, xmp
from runtimes.photographs.pixels import UPRIGHT
from runtimes.photographs.tags import Directory, Value


@dataclasses.dataclass(frozen=True)
class Original:
    """The metadata of a file: what every format knows, and all of it as its own format has it."""

    format: str = ""
    """Pillow's name of the format; empty for a picture that comes from no file."""
    exif: bytes | None = None
    """An EXIF block, from the TIFF header on."""
    xmp: bytes | None = None
    """An XMP packet."""
    resources: bytes | None = None
    """Photoshop's resources, in which IPTC lies."""
    comment: bytes | None = None
    dpi: tuple[float, float] | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What its encoder was told, for Pillow's `save`."""
    jpeg: jpeg.Parts | None = None
    png: png.Chunks | None = None
    tiff: tuple[str, Directory] | None = None
    """Byte order and tags."""


@dataclasses.dataclass(frozen=True)
class Fate:
    """What happened to the pixels of a file."""

    width: int
    """Of the upright photograph, px."""
    height: int
    orientation: int
    """That the pixels had, 1 to 8."""
    srgb: bool
    """Whether they were converted to sRGB, or their profile does not fit."""


def original_of(image: Image.Image, stream: BinaryIO, fate: Fate) -> tuple[Original, tuple[str, ...]]:
    """Read the metadata of a decoded picture; also return one sentence for each thing that cannot be kept."""
    if image.format in {"JPEG", "MPO"}:
        return _of_jpeg(image, stream, fate)
    if image.format == "TIFF":
        return _of_tiff(stream, fate)
    info = image.info
    block, packet = _exif_bytes(image), info.get("xmp")
    known = Original(
        image.format or "",
        exif.upright(block, fate.width, fate.height, srgb=fate.srgb) if block else None,
        xmp.upright(packet, fate.width, fate.height) if isinstance(packet, bytes) else None,
        comment=info.get("comment") if isinstance(info.get("comment"), bytes) else None,
        dpi=info.get("dpi"),
    )
    notes: tuple[str, ...] = ()
    if image.format == "PNG":
        stored = png.chunks_of(stream)
        known = dataclasses.replace(known, png=png.kept(stored, known.exif, known.xmp, colours=not fate.srgb))
    elif image.format == "WEBP":
        stream.seek(0)
        lossless = b"VP8L" in stream.read(4096)
        known = dataclasses.replace(known, options={"lossless": True, "exact": True} if lossless else {})
    elif image.format == "AVIF":
        known = dataclasses.replace(known, options=_avif_options(stream))
    elif image.format == "HEIF":
        known = dataclasses.replace(known, options={"chroma": info.get("chroma") or 444})
        if any(info.get(name) for name in ("aux", "depth_images")):
            notes = ("its gain map or depth map was left out",)
    return known, notes


def _avif_options(stream: BinaryIO) -> dict[str, Any]:
    """The chroma subsampling, from the box av1C (AV1-ISOBMFF 2.3.3)."""
    stream.seek(0)
    head = stream.read(1 << 16)
    place = head.find(b"av1C")
    if place < 0:
        return {}
    return {"subsampling": {0b00: "4:4:4", 0b10: "4:2:2", 0b11: "4:2:0"}.get(head[place + 6] >> 2 & 0b11, "4:4:4")}


def _exif_bytes(image: Image.Image) -> bytes | None:
    block = image.info.get("exif")
    if block is None and "Raw profile type exif" in image.info:
        block = exif.exif_of(image).tobytes()
    return block if isinstance(block, bytes) else None


def _of_jpeg(image: Image.Image, stream: BinaryIO, fate: Fate) -> tuple[Original, tuple[str, ...]]:
    stream.seek(0)
    data = stream.read()
    stored = jpeg.parts(data)
    block, packet = stored.first(jpeg.EXIF), stored.first(jpeg.XMP)
    block = exif.upright(block, fate.width, fate.height, srgb=fate.srgb) if block else None
    packet = xmp.upright(packet, fate.width, fate.height) if packet else None
    turn = functools.partial(_turned, fate) if fate.orientation > 1 else None
    kept, notes = jpeg.kept(stored, jpeg.Changes(block, packet, profile=not fate.srgb, turn=turn))
    resources = stored.first(jpeg.IRB)
    return Original(
        "JPEG",
        block,
        xmp.without_promises(packet) if packet else None,
        jpeg.without_thumbnails(resources) if resources else None,
        image.info.get("comment"),
        image.info.get("dpi"),
        _jpeg_options(image, len(data)),
        jpeg=kept,
    ), notes


def _jpeg_options(image: Image.Image, size: int) -> dict[str, Any]:
    """What keeps quality and chroma subsampling; nothing for other colours than grey and YCbCr.

    Pillow gives progressive files a buffer of 1 byte a pixel, at least 64 KB, and fails beyond it:
    python-pillow/Pillow#148. Files that are likely to come near are written as baseline.

    size: of the file, in bytes.
    """
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or image.mode not in {"L", "RGB"}:
        return {}
    tables = {number: [min(255, step) for step in table] for number, table in image.quantization.items()}
    small = size < max(1 << 15, image.width * image.height // 2)
    options = {"qtables": tables, "progressive": small and bool(image.info.get("progressive"))}
    sampling = JpegImagePlugin.get_sampling(image)
    return options | ({"subsampling": sampling} if sampling >= 0 else {})


def _turned(fate: Fate, data: bytes) -> bytes:
    """A second picture of a JPEG, such as a gain map, turned like the first; ValueError if it is none or larger."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if image.width * image.height > fate.width * fate.height:
                raise ValueError("larger than the photograph")
            turned = Image.fromarray(np.ascontiguousarray(UPRIGHT[fate.orientation](np.asarray(image))))
            buffer = io.BytesIO()
            turned.save(buffer, format="JPEG", **_jpeg_options(image, len(data)))
    except (OSError, SyntaxError) as error:
        raise ValueError("no JPEG") from error
    return jpeg.joined(buffer.getvalue(), jpeg.parts(data))


def _of_tiff(stream: BinaryIO, fate: Fate) -> tuple[Original, tuple[str, ...]]:
    stream.seek(0)
    order, stored = tags.parsed(stream.read())
    notes = ["its Photoshop layers were left out"] if tiff.has_layers(stored) else []
    described = tiff.describing(stored)
    if exif.without_fixed_maker_note(described):
        notes.append("its maker note, which cannot be moved, was left out")
    packets = {tag: value.data for tag in tiff.PACKETS if isinstance(value := described.get(tag), Value)}
    packet, resources = packets.get(tiff.XMP), packets.get(tiff.RESOURCES)
    packet = xmp.upright(packet, fate.width, fate.height) if packet else None
    resources = jpeg.without_thumbnails(resources) if resources else None
    profile = None if fate.srgb else packets.get(tiff.PROFILE)
    block = exif.block_of(order, described)
    if block is not None:
        block = exif.upright(block, fate.width, fate.height, srgb=fate.srgb)
    return Original(
        "TIFF",
        block,
        packet,
        resources,
        options={"compressed": tiff.is_compressed(stored, order)},
        tiff=(order, tiff.with_packets(described, xmp=packet, resources=resources, profile=profile)),
    ), tuple(notes)
