"""Golden pictures: inputs and the float32 network's answers to them, stored in a file beside the artifact."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from runtimes.controls import DEFAULT, Controls
from runtimes.errors import ArtifactError, failing
from runtimes.files import replacing
from runtimes.image import Pixels, decode_png, encode_png

MOST_BYTES = 2**29  # that a file of golden pictures may unpack to


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One golden picture.

    Errors: ArtifactError when the pictures are not uint8 H x W x 3, or the answer has another shape than its picture.
    """

    name: str
    """Its name in reports."""
    image: Pixels
    """The input, uint8 H x W x 3."""
    expected: Pixels
    """The float32 network's answer, uint8: the enhanced `image` or, if there is one, the enhanced `photograph`."""
    controls: Controls = DEFAULT
    """The controls that the answer was made with."""
    photograph: Pixels | None = None
    """The picture to which the maps for `image` are applied, uint8 of any size; None for an answer without maps."""

    def __post_init__(self) -> None:
        enhanced = self.image if self.photograph is None else self.photograph
        for array in (self.image, enhanced, self.expected):
            wrong = array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3
            if wrong or self.expected.shape != enhanced.shape:
                raise ArtifactError(
                    f"case {self.name!r} should have two uint8 H x W x 3 pictures of one shape but has "
                    f"{enhanced.dtype} {enhanced.shape} and {self.expected.dtype} {self.expected.shape}; "
                    "convert them"
                )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input, in px."""
        height, width, _ = self.image.shape
        return height, width

    @property
    def flat(self) -> bool:
        """Whether the input has one colour only."""
        return is_flat(self.image)


def is_flat(image: Pixels) -> bool:
    """Whether a picture, H x W x 3, has one colour only."""
    return bool((image == image[0, 0]).all())


class Rounding(NamedTuple):
    """The rounding error of the float32 network against itself in float64, for the worst picture.

    It is measured before the output is rounded to 8-bit codes.
    """

    codes: float
    """The largest difference, in units of one 8-bit code."""
    psnr: float
    """PSNR in dB, with peak 255."""

    def __str__(self) -> str:
        return f"PyTorch's own rounding, float32 against float64: up to {self.codes:.2g} codes, {self.psnr:.1f} dB"


@dataclasses.dataclass(frozen=True, eq=False)
class Golden:
    """The golden pictures that an artifact is checked on.

    Errors: ArtifactError when there is none, or when two have the same name and size.
    """

    cases: tuple[Case, ...]
    """At least one, each with its own name and size."""
    rounding: Rounding | None = None
    """The float32 network's own rounding error; None if it was not measured."""

    def __post_init__(self) -> None:
        if len({(case.name, case.size) for case in self.cases}) != len(self.cases) or not self.cases:
            raise ArtifactError(
                "the golden cases should be at least one, each of its own name and size, "
                f"but are {[case.name for case in self.cases]}; add or rename cases"
            )

    def sha256(self) -> str:
        """Return the digest of all that the file holds, in hexadecimal digits."""
        digest = hashlib.sha256(repr(self.rounding and [float(number) for number in self.rounding]).encode())
        for case in self.cases:
            settings = [float(value) for value in dataclasses.astuple(case.controls)]
            digest.update(repr((case.name, case.size, settings)).encode())
            digest.update(case.image.tobytes())
            digest.update(case.expected.tobytes())
            if case.photograph is not None:
                digest.update(repr(case.photograph.shape).encode())
                digest.update(case.photograph.tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write an .npz file that holds the pictures as PNG data; an older file is replaced at once."""
        arrays = {"names": np.array([case.name for case in self.cases])}
        if self.rounding is not None:
            arrays["rounding"] = np.array(self.rounding)
        if any(case.controls != DEFAULT for case in self.cases):
            arrays["controls"] = np.array([dataclasses.astuple(case.controls) for case in self.cases])
        if any(case.photograph is not None for case in self.cases):
            arrays["by_maps"] = np.array([case.photograph is not None for case in self.cases])
        for index, case in enumerate(self.cases):
            arrays[f"image_{index}"] = np.frombuffer(encode_png(case.image), np.uint8)
            arrays[f"expected_{index}"] = np.frombuffer(encode_png(case.expected), np.uint8)
            if case.photograph is not None and case.photograph is not case.image:
                arrays[f"photograph_{index}"] = np.frombuffer(encode_png(case.photograph), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type] # numpy declares allow_pickle among the keywords
        with replacing(path) as temporary:
            temporary.write_bytes(buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Golden:
        """Read a file written by `save`. No code in it is executed.

        Errors: ArtifactError, naming the file, when it is missing, damaged or another kind of file.
        """
        if not path.exists():
            raise ArtifactError(
                f"{path} should hold the golden pictures but does not exist; "
                "copy it there, or export the artifact again"
            )
        with failing(path, "hold golden pictures", "export it again", keep=()):
            _require_size(path)
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                names = [str(name) for name in arrays["names"]]
                by_maps = arrays["by_maps"].tolist() if "by_maps" in arrays else [False] * len(names)
                pictures = [_read_pictures(arrays, i, mapped) for i, mapped in enumerate(by_maps)]
                rounding = Rounding(*map(float, arrays["rounding"])) if "rounding" in arrays else None
                rows = arrays["controls"].tolist() if "controls" in arrays else [()] * len(names)
            cases = (
                Case(name, image, expected, Controls(*row), photograph)
                for name, (image, expected, photograph), row in zip(names, pictures, rows, strict=True)
            )
            return cls(tuple(cases), rounding)


def _require_size(path: Path) -> None:
    """Refuse a file whose members would unpack to more than `MOST_BYTES`: ValueError."""
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MOST_BYTES:
        raise ValueError(f"it would unpack to {size} bytes, and at most {MOST_BYTES} are read")


def _read_pictures(arrays: Any, index: int, by_maps: bool) -> tuple[Pixels, Pixels, Pixels | None]:
    """Read the input, the answer and the photograph of a case from an open .npz file."""
    image, expected = (decode_png(arrays[f"{kind}_{index}"].tobytes()) for kind in ("image", "expected"))
    name = f"photograph_{index}"
    return image, expected, decode_png(arrays[name].tobytes()) if name in arrays else image if by_maps else None


def golden_path(artifact: Path) -> Path:
    """Return the path of an artifact's golden pictures: `<artifact>.golden.npz` beside it."""
    return artifact.with_name(f"{artifact.name}.golden.npz")


def extreme_images(h: int, w: int) -> dict[str, Pixels]:
    """Make extreme inputs, uint8 h x w x 3 by name: flat colours, a ramp, a checkerboard and noise."""
    colours = {
        "black": (0, 0, 0),
        "white": (255, 255, 255),
        "red": (255, 0, 0),
        "green": (0, 255, 0),
        "blue": (0, 0, 255),
        "cyan": (0, 255, 255),
        "magenta": (255, 0, 255),
        "yellow": (255, 255, 0),
    }
    images = {name: np.full((h, w, 3), colour, np.uint8) for name, colour in colours.items()}
    across, down = np.linspace(0, 255, w), np.linspace(0, 255, h)[:, None]
    ramp = np.stack(np.broadcast_arrays(across, down, (across + down) / 2), axis=2)
    images["ramp"] = np.round(ramp).astype(np.uint8)
    rows, columns = np.indices((h, w)) // 8
    images["checker"] = np.repeat(255 * ((rows + columns) % 2)[:, :, None], 3, axis=2).astype(np.uint8)
    images["noise"] = np.random.default_rng(0).integers(0, 256, (h, w, 3), np.uint8)
    return images
