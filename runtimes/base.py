"""The base class of all runtime wrappers: it checks batches, runs them and enhances photographs of any size."""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtimes.apply import oracle
from runtimes.apply.applying import applied
from runtimes.apply.change import Change
from runtimes.apply.fitting import fit_change
from runtimes.apply.probing import measurable, measure_tone
from runtimes.apply.reducing import reduced
from runtimes.controls import DEFAULT, Controls, adjust_batch, require_rows
from runtimes.errors import ArtifactError, failing
from runtimes.image import Pixels, to_uint8
from runtimes.shape_choice import Fit, fit, pad
from runtimes.spec import CONTROLS, MAPS, TONE, ImageSpec


class Maps(NamedTuple):
    """The change of a batch of pictures in the form of docs/maps.md, float32."""

    tone: NDArray[np.float32]
    """The constants of the curve, N x 16."""
    maps: NDArray[np.float32] | None = None
    """The rows of (A | b) of every window, N x 12 x h x w; None for a tone head without a generator."""

    def change(self, index: int) -> Change:
        """Return the change of one picture of the batch; ArtifactError when it holds NaN or infinity."""
        return Change(self.tone[index], None if self.maps is None else self.maps[index])


Outputs = NDArray[Any] | Mapping[str, NDArray[Any]]


class Runtime(ABC):
    """An opened artifact.

    A subclass opens the file in its constructor, sets the four attributes below, and raises ArtifactError or
    BackendMissingError. Its method `_run` makes the only call into the backend.

    Threads: several threads may call `infer` and `enhance` at once, but not while another calls `close`. They run the
    network in turn, unless the subclass is `concurrent`. Instances are independent.
    """

    concurrent: ClassVar[bool] = False
    """Whether several threads may be in `_run` at once."""
    spec: ImageSpec
    """What the artifact says about itself."""
    path: Path
    """The file of the artifact."""
    device: str
    """The device that executes it, as the backend calls it."""
    name: str
    """Backend and version, e.g. "onnxruntime 1.32.0"."""
    _closed: bool = False
    _turn: AbstractContextManager[object]

    def __new__(cls, *_: object, **__: object) -> Any:
        made = super().__new__(cls)
        made._turn = contextlib.nullcontext() if cls.concurrent else threading.Lock()
        return made

    def infer(
        self, batch: NDArray[Any], controls: NDArray[Any] | None = None, *, allow_nan: bool = False
    ) -> NDArray[Any]:
        """Enhance one batch and return a batch of the same shape and type.

        The spec says which of two types it takes: N x 3 x H x W float32 in [0, 1], or N x H x W x 3 uint8.
        The result belongs to the caller: no later call writes to it.
        If the artifact returns maps alone, they are applied here.

        controls: strength and exposure of each picture, N x 2 (see `runtimes.controls`); None for 1 and 0. They are
        applied by the artifact if it has the input `controls`, and otherwise here, to its result.
        allow_nan: return NaN and infinity as they come.

        Errors: ArtifactError when the batch differs from the spec in type, rank, channels or shape, when the controls
        have another shape or are out of range, when the backend fails, or when NaN or infinity is given or returned.
        """
        rows = None if controls is None else require_rows(controls, len(batch))
        outputs = self._outputs(batch, rows, allow_nan=allow_nan)
        result = outputs.get(self.spec.output_name)
        if result is None:
            result = _applied(batch, Maps(outputs[TONE], outputs.get(MAPS)), self.spec)
        return result if rows is None or self.spec.controls else adjust_batch(batch, result, rows)

    def maps(self, batch: NDArray[Any], *, allow_nan: bool = False) -> Maps:
        """Return the change of one batch, which `infer` would take, as the curve and the maps of docs/maps.md.

        The result belongs to the caller. Strength and exposure are applied after the maps.

        Errors: ArtifactError as `infer`, and when the artifact returns pictures alone.
        """
        if self.spec.output == "picture":
            raise ArtifactError(
                f"{self.path} should return maps but returns pictures alone; export it with --output maps or both"
            )
        outputs = self._outputs(batch, None, allow_nan=allow_nan)
        return Maps(outputs[TONE], outputs.get(MAPS))

    def _outputs(
        self, batch: NDArray[Any], rows: NDArray[np.float32] | None, *, allow_nan: bool
    ) -> Mapping[str, NDArray[Any]]:
        """Check a batch, run it, and check what comes out: every output of the spec, by name."""
        if self._closed:
            raise ArtifactError(f"{self.path} should be open but was closed; load it again")
        self._check(batch)
        inputs = {self.spec.input_name: np.ascontiguousarray(batch)}
        if self.spec.controls:
            inputs[CONTROLS] = DEFAULT.rows(len(batch)) if rows is None else rows
        if not allow_nan:
            self._require_finite(batch, "be given", "correct the batch")
        with self._turn, failing(self.path, f"run on {self.device}", "run `bncagan verify`, or export it again"):
            returned = self._run(inputs)
        outputs = returned if isinstance(returned, Mapping) else {self.spec.output_name: returned}
        for name, shape in self.spec.output_shapes(*batch_shape(batch, self.spec)).items():
            result, dtype = outputs[name], self.spec.output_dtype(name)
            if result.shape != shape or result.dtype != dtype:
                raise ArtifactError(
                    f"{self.path} should return {dtype} of shape {shape} "
                    f"but returned {result.dtype} of shape {result.shape}; export it again"
                )
            if not allow_nan:
                self._require_finite(result, "return", "run `bncagan verify`, or export it in another precision")
        return outputs

    @abstractmethod
    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        """Execute C-contiguous inputs that match the spec: the batch and, if the artifact has the input, the controls.

        Returns new arrays: the picture, of the batch's shape and type, or all outputs of the spec by their names.
        """

    def enhance(
        self, image: Pixels, *, max_side: int | None = None, strength: float = 1.0, exposure: float = 0.0
    ) -> Pixels:
        """Enhance one photograph, uint8 H x W x 3 RGB of at least 8 x 8 px; return one of the same shape.

        If the artifact accepts the picture's size, padded by reflection to the network's multiple, and no side is
        longer than `max_side` px, it runs the picture. Otherwise it runs a resampled copy, and the photograph receives
        its change as a curve and local colour maps (`change`), in strips: docs/applying.md.
        `max_side` is 1024 px if not given, and 512 for a model without a generator. It is ignored when the padded size
        is one of the artifact's fixed shapes.

        strength: share of the change, from 0 (the photograph itself) to 1.5.
        exposure: stops by which the result is made brighter, from -2 to 2.

        Example:
            photo = runtimes.open_photograph("photo.jpg")
            with runtimes.load("small.onnx") as runtime:
                enhanced = runtime.enhance(photo.seen, strength=0.8)
            photo.changed(enhanced).write("enhanced.jpg")

        Errors: ArtifactError when the image is no such array, when `max_side` is below the network's minimum, when a
        control is out of range, or when the artifact returns NaN or infinity.
        """
        controls = Controls(strength, exposure)
        smallest = self.spec.multiple
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < smallest:
            raise ArtifactError(
                f"the image should be uint8 H x W x 3 of at least {smallest} x {smallest} px "
                f"but is {image.dtype} of shape {image.shape}; convert it to 8-bit RGB of that size"
            )
        plan = fit(self.spec, image.shape[0], image.shape[1], max_side)
        if plan.resample:
            return applied(image, self._change(reduced(image, plan.height, plan.width), plan), controls)
        enhanced = self._enhance_exactly(pad(image, plan.height, plan.width), plan, controls)
        return np.ascontiguousarray(enhanced[: image.shape[0], : image.shape[1]])

    def change(self, image: Pixels, *, max_side: int | None = None) -> Change:
        """Return what the network changes in a photograph, uint8 H x W x 3: `runtimes.apply` applies it at any size.

        The network sees a copy without a side longer than `max_side` px (see `enhance`). From an artifact that returns
        pictures alone, the change is computed here: a tone by measuring it, maps by fitting them.

        Errors: ArtifactError as `enhance`.
        """
        plan = fit(self.spec, image.shape[0], image.shape[1], max_side)
        return self._change(reduced(image, plan.height, plan.width), plan)

    def content_sha256(self) -> str:
        """Return the SHA-256 of the artifact's graph and weights, in hexadecimal digits.

        What the file says about itself is left out, so a file keeps it when its spec is written or it is renamed.

        Errors: ArtifactError when this is no artifact that can be sealed.
        """
        raise ArtifactError(f"{self.path} should be an artifact that can be sealed but is none; export it first")

    def close(self) -> None:
        """Release the backend's memory; `infer` raises ArtifactError afterwards. A second call does nothing."""
        self._closed = True

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _change(self, small: Pixels, plan: Fit) -> Change:
        """The change of a photograph, from a copy of exactly the plan's size."""
        if self.spec.output != "picture":
            told = self.maps(to_batch(np.repeat(small[None], plan.batch, axis=0), self.spec))
            return told.change(0)
        if not self.spec.width and measurable(small):
            return measure_tone(self, small, plan.batch)
        return fit_change(small, self._enhance_exactly(small, plan, DEFAULT))

    def _enhance_exactly(self, image: Pixels, plan: Fit, controls: Controls) -> Pixels:
        """Enhance an image of exactly the plan's size; copies of it fill the batch that the artifact requires."""
        batch = to_batch(np.repeat(image[None], plan.batch, axis=0), self.spec)
        result = self.infer(batch, None if controls == DEFAULT else controls.rows(plan.batch))[:1]
        enhanced: Pixels = from_batch(result, self.spec)[0]
        return enhanced

    def _require_finite(self, batch: NDArray[Any], verb: str, mend: str) -> None:
        """ArtifactError with the first place of NaN or infinity in a batch that the artifact is given or returns."""
        if batch.dtype.kind == "f" and not np.isfinite(batch).all():
            wrong = ~np.isfinite(batch)
            place = tuple(int(index) for index in np.argwhere(wrong)[0])
            raise ArtifactError(
                f"{self.path} should {verb} finite numbers on {self.device} but the first of {wrong.sum()} others "
                f"is {batch[place]} at {place} ({self.spec.layout}); {mend}"
            )

    def _check(self, batch: NDArray[Any]) -> None:
        spec = self.spec
        channel_axis = 1 if spec.layout == "NCHW" else 3
        if batch.dtype != spec.dtype or batch.ndim != 4 or batch.shape[channel_axis] != 3:
            wanted = "N x 3 x H x W" if spec.layout == "NCHW" else "N x H x W x 3"
            raise ArtifactError(
                f"{self.path} should be given {spec.dtype} {wanted} but is given {batch.dtype} of shape {batch.shape}; "
                "convert the batch, or call enhance with a uint8 image"
            )
        n, h, w = batch_shape(batch, spec)
        if not spec.shapes.accepts(n, h, w):
            raise ArtifactError(
                f"{self.path} should be given batches of {spec.shapes} (N x H x W) but is given {n}x{h}x{w}; "
                "call enhance, which takes any size, or export this shape"
            )


def _applied(batch: NDArray[Any], maps: Maps, spec: ImageSpec) -> NDArray[Any]:
    """Apply the maps to the batch that they were made for."""
    enhanced = np.empty_like(batch)
    for i, picture in enumerate(batch):
        if spec.io == "uint8":
            enhanced[i] = oracle.applied(picture, maps.change(i))
        else:
            enhanced[i] = oracle.changed(picture.transpose(1, 2, 0), maps.change(i)).transpose(2, 0, 1)
    return enhanced


def batch_shape(batch: NDArray[Any], spec: ImageSpec) -> tuple[int, int, int]:
    """Return (N, H, W) of a batch of four axes in the spec's layout."""
    n, *rest = batch.shape
    h, w = rest[1:] if spec.layout == "NCHW" else rest[:2]
    return n, h, w


def to_batch(images: Pixels, spec: ImageSpec) -> NDArray[Any]:
    """Convert uint8 N x H x W x 3 to the spec's type: the same array, or float32 N x 3 x H x W in [0, 1]."""
    if spec.io == "uint8":
        return images
    batch: NDArray[np.float32] = np.divide(images.transpose(0, 3, 1, 2), np.float32(255), dtype=np.float32, order="C")
    return batch


def from_batch(batch: NDArray[Any], spec: ImageSpec) -> Pixels:
    """Convert a batch of the spec's type to uint8 N x H x W x 3; floats are clamped to [0, 1] and rounded."""
    if spec.io == "uint8":
        return np.asarray(batch, dtype=np.uint8)
    return to_uint8(batch.transpose(0, 2, 3, 1))
