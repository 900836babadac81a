"""A photograph: what the network sees of it, and everything else that goes back into a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from runtimes.errors import InputError
from runtimes.files import replacing
from runtimes.image import DeepAnswer, Pixels, reduced_size
from runtimes.photographs.carrying import carried
from runtimes.photographs.decoding import MOST_MEGAPIXELS, decoded
from runtimes.photographs.encoding import FORMATS, Content, prepared, require_writable
from runtimes.photographs.original import Original
from runtimes.photographs.profiles import Codes, Space


@dataclasses.dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph in its own colours and depth, with its alpha and metadata.

    Example: a picture that comes from no file.
        Photograph(pixels).write("picture.png")
    """

    seen: Pixels
    """uint8 H x W x 3, sRGB, upright, invisible pixels filled: what the network sees."""
    own: Codes | None = None
    """uint8 or uint16, H x W x 1 (grey) or 3: its own codes, upright; None if they are `seen`."""
    space: Space | None = None
    """What `own` means; None for sRGB."""
    profile: bytes | None = None
    """The ICC profile of `own`."""
    alpha: Codes | None = None
    """H x W, of the depth of `own`; None if the file has no transparency."""
    original: Original = dataclasses.field(default_factory=Original)
    """The metadata of its file, as it goes into a new one."""
    suffix: str = ".png"
    """The suffix of the format that suits the photograph: its file's own where that can be written."""
    notes: tuple[str, ...] = ()
    """What of the file cannot be kept, each as a clause such as "its Photoshop layers were left out"."""

    @property
    def deep(self) -> bool:
        """Whether it is in colour and has 16 bits."""
        return self.own is not None and self.own.dtype == np.uint16 and self.own.shape[2] == 3

    def changed(self, enhanced: Pixels, answer_to: DeepAnswer | None = None) -> Photograph:
        """Return the photograph with the change from `seen` to `enhanced`, uint8 H x W x 3 of the same size.

        answer_to: how the change answers colours of 16 bits (`runtimes.apply.deep`), if that is known: 8 bits of a dark
        gradient cannot tell it.

        docs/colour.md says how the change reaches other colours than sRGB, 16 bits and grey. What is invisible stays.
        """
        if self.own is None:
            return dataclasses.replace(self, seen=enhanced)
        own = carried(self.own, self.space, self.seen, enhanced, answer_to)
        if self.alpha is not None:
            own = np.where(self.alpha[..., None] > 0, own, self.own)
        return dataclasses.replace(self, seen=enhanced, own=own)

    def write(self, path: str | Path, quality: int | None = None, *, overwrite: bool = True) -> tuple[str, ...]:
        """Write the photograph in the format of the path's suffix; an older file is replaced at once.

        quality: of JPEG, WebP and AVIF, 1 to 100; None keeps that of the input, where it is of the same format and has
            one to be known: a JPEG's, with its chroma subsampling, and whether a WebP is lossless.

        overwrite: False refuses to replace a file.

        Returns `notes`, and what the format of the path cannot hold.

        Errors: InputError when the suffix is unknown, when its format is for smaller photographs, or when the file
        cannot be written.
        """
        path = Path(path)
        require_writable(path)
        form = FORMATS[path.suffix.lower()]
        own = self.seen if self.own is None else self.own
        if form.longest is not None and max(own.shape[:2]) > form.longest:
            raise InputError(
                f"{path} should be at most {form.longest} px long and wide, as {form.name} is, but the photograph has "
                f"{own.shape[1]} x {own.shape[0]}; write a .png or .tif file"
            )
        content, lost = prepared(Content(own, self.alpha, self.space, self.profile, self.original, quality), form)
        try:
            with replacing(path, overwrite=overwrite) as temporary:
                temporary.write_bytes(form.encode(content))
        except FileExistsError as error:
            raise InputError(f"{path} should not exist but was written meanwhile; move it away") from error
        except (OSError, ValueError, RuntimeError, KeyError) as error:  # KeyError: Pillow was built without the format
            raise InputError(
                f"{path} should be writable but is not ({error}); check the folder and the space on its disk"
            ) from error
        return self.notes + lost


def open_photograph(path: str | Path, max_megapixels: float = MOST_MEGAPIXELS) -> Photograph:
    """Read a photograph and turn it upright.

    Its colours are those of the embedded profile or of the cICP or gAMA chunk of a PNG; they are Adobe RGB if a camera
    says so in EXIF, else sRGB.

    Example:
        photo = runtimes.open_photograph("photo.jpg")
        photo.changed(runtime.enhance(photo.seen)).write("enhanced.jpg")

    Errors: InputError, naming the file, when it is missing, truncated, no image, or larger than `max_megapixels`, when
    it has several frames or pages, or when it has floating point numbers, more than 16 bits per channel, or high
    dynamic range.
    """
    path = Path(path)
    found = decoded(path, max_megapixels=max_megapixels, whole=True)
    assert found.original is not None
    own = path.suffix.lower()
    suffix = path.suffix if own in FORMATS else ".jpg" if found.original.format in {"JPEG", "RAW"} else ".png"
    colours = found.colours
    notes = (*found.notes, *((colours.note,) if colours.note else ()))
    return Photograph(
        colours.seen, colours.own, colours.space, colours.profile, found.alpha, found.original, suffix, notes
    )


def read_rgb(path: str | Path, short_side: int | None = None) -> Pixels:
    """Read what the network sees of a photograph only, uint8 H x W x 3; of several frames, the first.

    short_side: a photograph whose shorter side is longer than this, in px, is reduced to it; None keeps the size. It
        makes a JPEG faster to decode.

    Errors: as for `open_photograph`.
    """
    seen = decoded(Path(path), short_side).colours.seen
    if short_side is None:
        return seen
    height, width = seen.shape[:2]
    reduced = Image.fromarray(seen).resize(reduced_size((width, height), short_side), Image.Resampling.LANCZOS)
    return np.asarray(reduced)
