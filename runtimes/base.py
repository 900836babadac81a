"""The base class of all runtime wrappers: it checks batches, runs them and enhances photographs of any size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from runtimes.controls import DEFAULT, Controls, adjust_batch, require_rows
from runtimes.errors import ArtifactError
from runtimes.fullsize import transfer
from runtimes.image import Pixels, resize, to_uint8
from runtimes.shape_choice import Fit, fit, pad
from runtimes.spec import CONTROLS, ImageSpec

MAX_SIDE = 1536  # px: a photograph with a longer side is reduced to it before the network sees it


class Runtime(ABC):
    """An opened artifact.

    A subclass opens the file in its constructor, sets the four attributes below, and raises ArtifactError or
    BackendMissingError. Its method `_run` makes the only call into the backend.

    Threads: one thread at a time may use an instance, unless the subclass is `concurrent`. Instances are independent.
    """

    concurrent: ClassVar[bool] = False
    """Whether several threads may call `infer` and `enhance` at once."""
    spec: ImageSpec
    """What the artifact says about itself."""
    path: Path
    """The file of the artifact."""
    device: str
    """The device that executes it, as the backend calls it."""
    name: str
    """Backend and version, e.g. "onnxruntime 1.32.0"."""
    _closed: bool = False

    def infer(self, batch: NDArray[Any], controls: NDArray[Any] | None = None) -> NDArray[Any]:
        """Enhance one batch and return a batch of the same shape and type.

        The spec says which of two types it takes: N x 3 x H x W float32 in [0, 1], or N x H x W x 3 uint8.
        The result belongs to the caller: no later call writes to it.

        controls: strength and exposure of each picture, N x 2 (see `runtimes.controls`); None for 1 and 0. They are
        applied by the artifact if it has the input `controls`, and otherwise here, to its result.

        Errors: ArtifactError when the batch differs from the spec in type, rank, channels or shape, or when the
        controls have another shape or are out of range.
        """
        if self._closed:
            raise ArtifactError(f"{self.path} should be open but was closed; load it again")
        self._check(batch)
        inputs = {self.spec.input_name: np.ascontiguousarray(batch)}
        rows = None if controls is None else require_rows(controls, len(batch))
        if self.spec.controls:
            inputs[CONTROLS] = DEFAULT.rows(len(batch)) if rows is None else rows
        result = self._run(inputs)
        if result.shape != batch.shape or result.dtype != batch.dtype:
            raise ArtifactError(
                f"{self.path} should return {batch.dtype} of shape {batch.shape} "
                f"but returned {result.dtype} of shape {result.shape}; export it again"
            )
        return result if rows is None or self.spec.controls else adjust_batch(batch, result, rows)

    @abstractmethod
    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Execute C-contiguous inputs that match the spec: the batch and, if the artifact has the input, the controls.

        Returns a new array of the batch's shape and type.
        """

    def enhance(
        self, image: Pixels, *, max_side: int = MAX_SIDE, strength: float = 1.0, exposure: float = 0.0
    ) -> Pixels:
        """Enhance one photograph, uint8 H x W x 3 RGB of at least 8 x 8 px; return one of the same shape.

        The picture is padded by reflection to the network's multiple. If the artifact accepts that size, it runs the
        padded picture. Otherwise, or if a side is longer than `max_side` px, it runs a resampled copy, and
        `runtimes.fullsize` transfers the change to every full-size pixel by local affine colour transforms.
        `max_side` is ignored when the padded size is one of the artifact's fixed shapes.

        strength: share of the change, from 0 (the photograph itself) to 1.5.
        exposure: stops by which the result is made brighter, from -2 to 2.

        Example:
            photo = runtimes.open_photograph("photo.jpg")
            with runtimes.load("small.onnx") as runtime:
                enhanced = runtime.enhance(photo.seen, max_side=1024)
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
            small = resize(image, plan.height, plan.width)
            return transfer(image, small, self._enhance_exactly(small, plan, DEFAULT), controls)
        enhanced = self._enhance_exactly(pad(image, plan.height, plan.width), plan, controls)
        return np.ascontiguousarray(enhanced[: image.shape[0], : image.shape[1]])

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

    def _enhance_exactly(self, image: Pixels, plan: Fit, controls: Controls) -> Pixels:
        """Enhance an image of exactly the plan's size; copies of it fill the batch that the artifact requires."""
        batch = to_batch(np.repeat(image[None], plan.batch, axis=0), self.spec)
        result = self.infer(batch, None if controls == DEFAULT else controls.rows(plan.batch))[:1]
        if not np.isfinite(result).all():
            raise ArtifactError(
                f"{self.path} should return finite numbers but returned NaN or infinity on {self.device}; "
                "run `bncagan verify`, then export it again or in another precision"
            )
        enhanced: Pixels = from_batch(result, self.spec)[0]
        return enhanced

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
