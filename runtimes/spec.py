"""What an artifact says about itself: names, types, shapes, origin and parity verdict, as JSON in its metadata."""

from __future__ import annotations

import dataclasses
import itertools
import json

from runtimes.errors import ArtifactError, InputError
from runtimes.schema import Version, build, parse_object, read_version
from runtimes.verdict import FORMAT_VERSION, PRECISIONS, Verdict, require_one_of

METADATA_KEY = "bncagan"  # the artifact's metadata string under this key is ImageSpec.to_json()
IOS = ("float32", "uint8")

Shape = tuple[int, int, int]  # N, H, W


@dataclasses.dataclass(frozen=True)
class ShapeSet:
    """The shapes (N, H, W) that an artifact accepts: a fixed list, or every multiple between two bounds.

    Exactly one form: `fixed`, or `minimum`, `optimum` and `maximum` (inclusive, axis by axis). Build it with
    `ShapeSet.of(...)` or `ShapeSet.between(...)`. H and W are multiples of `multiple` in both forms.

    Errors: ArtifactError when both or neither form is given, a side is no multiple, or the bounds are out of order.
    """

    fixed: tuple[Shape, ...] = ()
    minimum: Shape | None = None
    optimum: Shape | None = None
    maximum: Shape | None = None
    multiple: int = 8

    def __post_init__(self) -> None:
        bounds = [shape for shape in (self.minimum, self.optimum, self.maximum) if shape is not None]
        if len(bounds) != (0 if self.fixed else 3):
            raise ArtifactError(
                "the shapes should be either a fixed list or a minimum, an optimum and a maximum "
                f"but came as {len(self.fixed)} fixed shapes and {len(bounds)} bounds; give exactly one form"
            )
        if self.multiple < 1:
            raise ArtifactError(f"the shapes' multiple should be from 1 but is {self.multiple}; the network's is 8")
        for n, h, w in (*self.fixed, *bounds):
            if n < 1 or h < 1 or w < 1 or h % self.multiple or w % self.multiple:
                raise ArtifactError(
                    f"a shape should be N x H x W, N from 1, H and W multiples of {self.multiple}, "
                    f"but is {n}x{h}x{w}; round its sides to multiples of {self.multiple}"
                )
        for lower, upper in itertools.pairwise(bounds):
            if any(low > high for low, high in zip(lower, upper, strict=True)):
                raise ArtifactError(
                    "the shapes' minimum, optimum and maximum should grow in this order "
                    f"but are {', '.join(_by_x(shape) for shape in bounds)}; reorder them"
                )

    @classmethod
    def of(cls, *shapes: Shape, multiple: int = 8) -> ShapeSet:
        """Exactly these shapes (N, H, W)."""
        return cls(fixed=tuple(shapes), multiple=multiple)

    @classmethod
    def between(cls, minimum: Shape, optimum: Shape, maximum: Shape, *, multiple: int = 8) -> ShapeSet:
        """Every N, and every H and W that is a multiple, from `minimum` to `maximum`; `optimum` is what to tune for."""
        return cls(minimum=minimum, optimum=optimum, maximum=maximum, multiple=multiple)

    @property
    def bounds(self) -> tuple[Shape, Shape] | None:
        """The inclusive minimum and maximum; None for a fixed list."""
        if self.minimum is None or self.maximum is None:
            return None
        return self.minimum, self.maximum

    def accepts(self, n: int, h: int, w: int) -> bool:
        """Whether a batch of n images of h x w pixels is in the set."""
        if self.bounds is None:
            return (n, h, w) in self.fixed
        inside = all(
            low <= size <= high for low, size, high in zip(self.bounds[0], (n, h, w), self.bounds[1], strict=True)
        )
        return inside and h % self.multiple == 0 and w % self.multiple == 0

    def __str__(self) -> str:
        """For people: "1x256x256, 1x512x512" or "1..8 x 16..4096 x 16..4096, multiples of 8"."""
        if self.bounds is None:
            return ", ".join(_by_x(shape) for shape in self.fixed)
        axes = [str(low) if low == high else f"{low}..{high}" for low, high in zip(*self.bounds, strict=True)]
        return f"{' x '.join(axes)}, multiples of {self.multiple}"

    def to_dict(self) -> dict[str, object]:
        """JSON-ready; only the form in use. `multiple` is the spec's to write."""
        if self.bounds is None:
            return {"fixed": [list(shape) for shape in self.fixed]}
        return {"minimum": self.minimum, "optimum": self.optimum, "maximum": self.maximum}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """The contract of an artifact that maps one batch of pictures to another of the same shape and type.

    model, width: the network's name and its base number of channels.
    io: "float32" (N x 3 x H x W float32 in [0, 1], both ends) or "uint8" (N x H x W x 3 uint8, both ends); colour RGB.
    multiple, minimum: the network's own limits: H and W are multiples of `multiple`, from `minimum` pixels.
    precision: of the weights and of the arithmetic where it is safe: "fp32", "fp16", "int8", or half arithmetic on
    weights out of 256 or 64 values, "palette8" and "palette6".
    weights_sha256: of the folded float32 weights, style included, the same in every format; 64 hexadecimal digits.
    tools: tool name -> version, for what made the file.
    details: further facts for people, by name, e.g. how much of the work an int8 file does in int8.
    parity: the verdict of the check that followed the export; None while it is still ahead.
    format_version: that of the program which wrote the file; 1.0 for files that say 1.

    Errors: ArtifactError when a value is outside this vocabulary.
    """

    model: str
    width: int
    io: str
    shapes: ShapeSet
    precision: str
    weights_sha256: str
    input_name: str = "image"
    output_name: str = "enhanced"
    colour: str = "RGB"
    multiple: int = 8
    minimum: int = 16
    tools: dict[str, str] = dataclasses.field(default_factory=dict)
    details: dict[str, str] = dataclasses.field(default_factory=dict)
    parity: Verdict | None = None
    format_version: Version = FORMAT_VERSION

    def __post_init__(self) -> None:
        require_one_of(self.io, IOS, "the spec's io")
        require_one_of(self.colour, ("RGB",), "the spec's colour")
        require_one_of(self.precision, PRECISIONS, "the spec's precision")
        if self.multiple != self.shapes.multiple:
            raise ArtifactError(
                f"the spec's multiple should be that of its shapes, {self.shapes.multiple}, "
                f"but is {self.multiple}; build both with the same multiple"
            )
        smallest = min(min(h, w) for _, h, w in self.shapes.fixed or (self.shapes.bounds or ())[:1])
        if smallest < self.minimum:
            raise ArtifactError(
                f"the spec's shapes should have sides from {self.minimum} px "
                f"but one has {smallest} px ({self.shapes}); export larger shapes"
            )

    @property
    def dtype(self) -> str:
        """Element type of both ends: "float32" or "uint8"."""
        return self.io

    @property
    def layout(self) -> str:
        """Axis order of both ends: "NCHW" for float32, "NHWC" for uint8."""
        return "NCHW" if self.io == "float32" else "NHWC"

    @property
    def value_range(self) -> tuple[float, float]:
        """Smallest and largest meaningful value: (0, 1) for float32, (0, 255) for uint8."""
        return (0.0, 1.0) if self.io == "float32" else (0.0, 255.0)

    def to_json(self) -> str:
        """The spec as JSON text, for the artifact's metadata; `from_json` is its inverse."""
        fields = dataclasses.asdict(self)
        fields |= {"format_version": str(self.format_version), "shapes": self.shapes.to_dict()}
        return json.dumps(fields, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, what: str = "the spec") -> ImageSpec:
        """Parse what `to_json` wrote, as data; `what` names it in error messages.

        Errors: ArtifactError, one sentence, for malformed JSON, NaN, an unknown, missing or wrongly typed field, a
        value outside the vocabulary, or a newer major version. Of a newer minor version unknown fields are left out.
        """
        fields = parse_object(text, what)
        version = read_version(fields.get("format_version"), FORMAT_VERSION, what)
        fields["format_version"] = version
        if isinstance(fields.get("shapes"), dict) and "multiple" in fields:
            fields["shapes"]["multiple"] = fields["multiple"]
        return build(cls, fields, what, newer=version if version > FORMAT_VERSION else None)


def parse_size(text: str, *, multiple: int = 8, least: int = 16) -> tuple[int, int]:
    """HEIGHTxWIDTH, "512x768" -> (512, 768); InputError if it is none, or a side is no such multiple or too small."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise InputError(f"expected a size as HEIGHTxWIDTH, e.g. 512x512, got {text!r}; write two numbers with an x")
    sides = int(height), int(width)
    if min(sides) < least or any(side % multiple for side in sides):
        raise InputError(f"expected HEIGHTxWIDTH in multiples of {multiple} from {least}, got {text}; round them")
    return sides


def parse_shape(text: str) -> Shape:
    """BATCHxHEIGHTxWIDTH, "1x512x768" -> (1, 512, 768); InputError as `parse_size`, or if the batch is below 1."""
    batch, _, size = text.partition("x")
    if not batch.isdigit() or int(batch) < 1:
        raise InputError(f"expected a shape as BATCHxHEIGHTxWIDTH, e.g. 1x512x512, got {text!r}; write three numbers")
    return (int(batch), *parse_size(size))


def _by_x(shape: Shape) -> str:
    return "x".join(str(size) for size in shape)
