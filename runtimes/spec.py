"""The spec: what an artifact says about itself, as JSON in its metadata."""

from __future__ import annotations

import dataclasses
import itertools
import json

from runtimes.apply.change import MAP_ROWS, TONE_CONSTANTS
from runtimes.errors import ArtifactError, InputError
from runtimes.schema import Version, build, parse_object, read_version
from runtimes.seal import Seal, changed_parts
from runtimes.verdict import FORMAT_VERSION, PRECISIONS, Fidelity, Verdict, require_one_of

METADATA_KEY = "bncagan"  # key of the artifact's metadata whose value is ImageSpec.to_json()
IOS = ("float32", "uint8")
CONTROLS = "controls"  # name of the second input
OUTPUTS = ("picture", "maps", "both")
TONE, MAPS = "tone", "maps"  # names of the outputs that docs/maps.md describes
WINDOW = 8  # px of the network's picture for each window of the maps

Shape = tuple[int, int, int]  # N, H, W


@dataclasses.dataclass(frozen=True)
class ShapeSet:
    """The shapes (N, H, W) that an artifact accepts: a fixed list, or a range with inclusive bounds.

    Make it with `ShapeSet.of(...)` or `ShapeSet.between(...)`.

    Errors: ArtifactError when both forms or neither are given, when a side is not a multiple of `multiple`, or when the
    bounds are not in ascending order.
    """

    fixed: tuple[Shape, ...] = ()
    """The fixed shapes; empty for a range."""
    minimum: Shape | None = None
    """Lower bound of each axis; None for fixed shapes."""
    optimum: Shape | None = None
    """The shape that a backend should tune for; None for fixed shapes."""
    maximum: Shape | None = None
    """Upper bound of each axis; None for fixed shapes."""
    multiple: int = 8
    """Number of which every H and W is a multiple."""

    def __post_init__(self) -> None:
        bounds = [shape for shape in (self.minimum, self.optimum, self.maximum) if shape is not None]
        if len(bounds) != (0 if self.fixed else 3):
            raise ArtifactError(
                "the shapes should be either a fixed list or a minimum, an optimum and a maximum "
                f"but came as {len(self.fixed)} fixed shapes and {len(bounds)} bounds; give exactly one form"
            )
        if self.multiple < 1:
            raise ArtifactError(
                f"the shapes' multiple should be at least 1 but is {self.multiple}; use the network's, 8"
            )
        for n, h, w in (*self.fixed, *bounds):
            if n < 1 or h < 1 or w < 1 or h % self.multiple or w % self.multiple:
                raise ArtifactError(
                    f"a shape should be N x H x W with N at least 1 and H and W multiples of {self.multiple} "
                    f"but is {n}x{h}x{w}; round its sides to multiples of {self.multiple}"
                )
        for lower, upper in itertools.pairwise(bounds):
            if any(low > high for low, high in zip(lower, upper, strict=True)):
                raise ArtifactError(
                    "the minimum, optimum and maximum of the shapes should be in ascending order "
                    f"but are {', '.join(_by_x(shape) for shape in bounds)}; reorder them"
                )

    @classmethod
    def of(cls, *shapes: Shape, multiple: int = 8) -> ShapeSet:
        """Make a set of fixed shapes (N, H, W)."""
        return cls(fixed=tuple(shapes), multiple=multiple)

    @classmethod
    def between(cls, minimum: Shape, optimum: Shape, maximum: Shape, *, multiple: int = 8) -> ShapeSet:
        """Make a range: every N, and all multiples for H and W, from `minimum` to `maximum`."""
        return cls(minimum=minimum, optimum=optimum, maximum=maximum, multiple=multiple)

    @property
    def bounds(self) -> tuple[Shape, Shape] | None:
        """The minimum and maximum of a range; None for fixed shapes."""
        if self.minimum is None or self.maximum is None:
            return None
        return self.minimum, self.maximum

    def accepts(self, n: int, h: int, w: int) -> bool:
        """Whether the set contains a batch of n images of h x w px."""
        if self.bounds is None:
            return (n, h, w) in self.fixed
        inside = all(
            low <= size <= high for low, size, high in zip(self.bounds[0], (n, h, w), self.bounds[1], strict=True)
        )
        return inside and h % self.multiple == 0 and w % self.multiple == 0

    def __str__(self) -> str:
        """Text for people: "1x256x256, 1x512x512" or "1..8 x 16..4096 x 16..4096, multiples of 8"."""
        if self.bounds is None:
            return ", ".join(_by_x(shape) for shape in self.fixed)
        axes = [str(low) if low == high else f"{low}..{high}" for low, high in zip(*self.bounds, strict=True)]
        return f"{' x '.join(axes)}, multiples of {self.multiple}"

    def to_dict(self) -> dict[str, object]:
        """Return the form in use as values for JSON. The spec stores `multiple` itself."""
        if self.bounds is None:
            return {"fixed": [list(shape) for shape in self.fixed]}
        return {"minimum": self.minimum, "optimum": self.optimum, "maximum": self.maximum}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """The interface of an artifact, which maps a batch of pictures to one of the same shape and type, or to maps.

    Errors: ArtifactError when a field has an unknown value, when the shapes do not fit `multiple` and `minimum`, or
    when there are controls but no picture.
    """

    model: str
    """Name of the network."""
    width: int
    """The network's base number of channels; 0 for a tone head without a generator."""
    io: str
    """Type of input and output: "float32", N x 3 x H x W in [0, 1], or "uint8", N x H x W x 3."""
    shapes: ShapeSet
    """The shapes that it accepts."""
    precision: str
    """"fp32", "fp16" or "int8", where that is safe; "palette8" or "palette6": fp16 with weights of 256 or 64 values."""
    weights_sha256: str
    """SHA-256 of the folded float32 weights, including the style; equal in every format. 64 hexadecimal digits."""
    input_name: str = "image"
    """Name of the input."""
    output_name: str = "enhanced"
    """Name of the output."""
    colour: str = "RGB"
    """Order of the channels; always "RGB"."""
    controls: bool = False
    """Whether there is a second input, `controls`: float32 N x 2, strength and exposure (see `runtimes.controls`)."""
    output: str = "picture"
    """What it returns: "picture", "maps" (the change in a form that applies at any size, docs/maps.md), or "both"."""
    window: int = WINDOW
    """Height and width of the windows of the maps, in px."""
    multiple: int = 8
    """Number of which the network needs H and W to be multiples."""
    minimum: int = 16
    """The network's smallest H and W, in px."""
    tools: dict[str, str] = dataclasses.field(default_factory=dict)
    """Versions of the tools that made the file, by name."""
    details: dict[str, str] = dataclasses.field(default_factory=dict)
    """Further facts for people, by name, such as the share of the work that an int8 file does in int8."""
    fidelity: Fidelity | None = None
    """How near its maps come to the network at full size; None if that was not measured."""
    parity: Verdict | None = None
    """The verdict of the check at export; None before that check."""
    seal: Seal | None = None
    """Digests of the artifact as it passed that check; None before, and in files of versions before 1.3."""
    format_version: Version = FORMAT_VERSION
    """Format version of the program that wrote the file; 1 in old files means 1.0."""

    def __post_init__(self) -> None:
        require_one_of(self.io, IOS, "the spec's io")
        require_one_of(self.colour, ("RGB",), "the spec's colour")
        require_one_of(self.precision, PRECISIONS, "the spec's precision")
        require_one_of(self.output, OUTPUTS, "the spec's output")
        if self.controls and self.output == "maps":
            raise ArtifactError(
                "the input controls should be of an artifact that returns pictures but this one returns maps alone; "
                "leave it out: strength and exposure come after the maps"
            )
        if self.output != "picture" and (self.window < 1 or self.multiple % self.window):
            raise ArtifactError(
                f"the spec's window should be a divisor of its multiple, {self.multiple}, but is {self.window}; "
                f"use {WINDOW}"
            )
        if self.multiple != self.shapes.multiple:
            raise ArtifactError(
                f"the spec's multiple should be that of its shapes, {self.shapes.multiple}, "
                f"but is {self.multiple}; give both the same multiple"
            )
        smallest = min(min(h, w) for _, h, w in self.shapes.fixed or (self.shapes.bounds or ())[:1])
        if smallest < self.minimum:
            raise ArtifactError(
                f"the spec's shapes should have sides of at least {self.minimum} px "
                f"but one has {smallest} px ({self.shapes}); export larger shapes"
            )

    @property
    def dtype(self) -> str:
        """NumPy's name for the element type of input and output: "float32" or "uint8"."""
        return self.io

    @property
    def layout(self) -> str:
        """Order of the axes of input and output: "NCHW" for float32, "NHWC" for uint8."""
        return "NCHW" if self.io == "float32" else "NHWC"

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, in the order of the graph's."""
        maps = (TONE, MAPS) if self.width else (TONE,)
        return (self.output_name,) * (self.output != "maps") + maps * (self.output != "picture")

    def output_shapes(self, n: int, h: int, w: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each output by name, for a batch of n pictures of h x w px."""
        picture = (n, 3, h, w) if self.layout == "NCHW" else (n, h, w, 3)
        maps = (n, MAP_ROWS, h // self.window, w // self.window)
        shapes = {self.output_name: picture, TONE: (n, TONE_CONSTANTS), MAPS: maps}
        return {name: shapes[name] for name in self.outputs}

    def output_dtype(self, name: str) -> str:
        """Return NumPy's name for the element type of an output."""
        return self.dtype if name == self.output_name else "float32"

    def to_json(self) -> str:
        """Return the spec as JSON text for the artifact's metadata; `from_json` is the inverse."""
        fields = dataclasses.asdict(self)
        fields |= {"format_version": str(self.format_version), "shapes": self.shapes.to_dict()}
        return json.dumps(fields, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, what: str = "the spec") -> ImageSpec:
        """Parse the text that `to_json` wrote. `what` names it in error messages.

        Unknown fields are ignored if the text has a newer minor version.

        Errors: ArtifactError for malformed JSON, NaN, another major version, an unknown, missing or wrongly typed
        field, an unknown value, or a part that was changed since it was sealed.
        """
        fields = parse_object(text, what)
        changed = changed_parts(fields)
        version = read_version(fields.get("format_version"), FORMAT_VERSION, what)
        fields["format_version"] = version
        if isinstance(fields.get("shapes"), dict) and "multiple" in fields:
            fields["shapes"]["multiple"] = fields["multiple"]
        spec = build(cls, fields, what, newer=version if version > FORMAT_VERSION else None)
        if changed:
            raise ArtifactError(
                f"{what} should be as it was sealed but {' and '.join(changed)} changed since; export it again"
            )
        return spec


def parse_size(text: str, *, multiple: int = 8, least: int = 16, option: str = "--shape") -> tuple[int, int]:
    """Parse HEIGHTxWIDTH: "512x768" -> (512, 768). `option` names the command line option in errors.

    Errors: InputError when the text has another form, or a side is below `least` or not a multiple of `multiple`.
    """
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise InputError(
            f"{option} should have sizes of the form HEIGHTxWIDTH, such as 512x512, but has {text!r}; "
            "write two numbers with an x between them"
        )
    sides = int(height), int(width)
    if min(sides) < least or any(side % multiple for side in sides):
        raise InputError(
            f"{option} should have a height and a width that are multiples of {multiple} and at least {least} "
            f"but has {text}; round them up"
        )
    return sides


def parse_shape(text: str) -> Shape:
    """Parse a value of --range, BATCHxHEIGHTxWIDTH: "1x512x768" -> (1, 512, 768).

    Errors: InputError when the text has another form, the batch is below 1, or the size is refused by `parse_size`.
    """
    batch, _, size = text.partition("x")
    if not batch.isdecimal() or int(batch) < 1:
        raise InputError(
            f"--range should have shapes of the form BATCHxHEIGHTxWIDTH, such as 1x512x512, but has {text!r}; "
            "write three numbers with an x between them"
        )
    return (int(batch), *parse_size(size, option="--range"))


def _by_x(shape: Shape) -> str:
    return "x".join(str(size) for size in shape)
