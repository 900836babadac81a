"""What every runtime wrapper promises: checked batches in, owned pictures out, one `enhance` for any photograph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import ArtifactError
from runtimes.fullsize import transfer
from runtimes.image import Pixels, resize, to_uint8
from runtimes.shape_choice import Fit, fit, pad
from runtimes.spec import ImageSpec

MAX_SIDE = 1536  # px: the longest side that the network sees of a photograph, unless told otherwise


class Runtime(ABC):
    """An opened artifact.

    A wrapper's constructor opens the file, sets the four attributes below and raises ArtifactError or
    BackendMissingError; `_run` is the one call into the backend.

    Threads: unless a wrapper says more, one thread at a time may use an instance; instances are independent.

    Attributes:
        spec: what the artifact says about itself.
        path: the file it came from.
        device: what executes it, in the backend's words.
        name: backend and version, e.g. "onnxruntime 1.32.0".
    """

    spec: ImageSpec
    path: Path
    device: str
    name: str
    _closed: bool = False

    def infer(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Enhance one batch: N x 3 x H x W float32 in [0, 1], or N x H x W x 3 uint8, as `spec` says; same type out.

        The result belongs to the caller: no later call writes to it.

        Errors: ArtifactError when the batch differs from the spec in type, rank, channels or shape.
        """
        if self._closed:
            raise ArtifactError(f"{self.path} should be open but was closed; load it again")
        self._check(batch)
        result = self._run(np.ascontiguousarray(batch))
        if result.shape != batch.shape or result.dtype != batch.dtype:
            raise ArtifactError(
                f"{self.path} should return {batch.dtype} of shape {batch.shape} "
                f"but returned {result.dtype} of shape {result.shape}; export it again"
            )
        return result

    @abstractmethod
    def _run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Execute a C-contiguous batch that matches the spec; the result is a fresh array of its shape and type."""

    def enhance(self, image: Pixels, *, max_side: int = MAX_SIDE) -> Pixels:
        """Enhance one photograph, uint8 H x W x 3 RGB of any size from 8 x 8 px; same shape out.

        A picture that the artifact accepts, once padded by reflection to the multiple, is executed as it is. A picture
        beyond `max_side` px (or beyond the artifact's largest shape), or of another shape than a fixed-shape artifact
        has, is executed on a resampled copy, whose change is then carried over to every full-size pixel by local affine
        colour transforms (`runtimes.fullsize`). `max_side` does not apply to an exact match of a fixed shape.

        Errors: ArtifactError when the image is no such array, `max_side` is below the network's minimum, or the
        artifact answers with NaN or infinity.
        """
        smallest = self.spec.multiple
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < smallest:
            raise ArtifactError(
                f"an image should be uint8 H x W x 3 of at least {smallest} x {smallest} px "
                f"but is {image.dtype} of shape {image.shape}; convert it to 8-bit RGB of that size"
            )
        plan = fit(self.spec, image.shape[0], image.shape[1], max_side)
        if plan.resample:
            small = resize(image, plan.height, plan.width)
            return transfer(image, small, self._enhance_exactly(small, plan))
        enhanced = self._enhance_exactly(pad(image, plan.height, plan.width), plan)
        return np.ascontiguousarray(enhanced[: image.shape[0], : image.shape[1]])

    def close(self) -> None:
        """Release the backend's memory; `infer` refuses afterwards. A second call does nothing."""
        self._closed = True

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _enhance_exactly(self, image: Pixels, plan: Fit) -> Pixels:
        """Run one image of exactly the plan's size, repeated to the batch size that the artifact insists on."""
        batch = to_batch(np.repeat(image[None], plan.batch, axis=0), self.spec)
        result = self.infer(batch)[:1]
        if not np.isfinite(result).all():
            raise ArtifactError(
                f"{self.path} should return finite numbers but returned NaN or infinity on {self.device}; "
                "run its parity check, and export it again or use another precision"
            )
        enhanced: Pixels = from_batch(result, self.spec)[0]
        return enhanced

    def _check(self, batch: NDArray[Any]) -> None:
        spec = self.spec
        channel_axis = 1 if spec.layout == "NCHW" else 3
        if batch.dtype != spec.dtype or batch.ndim != 4 or batch.shape[channel_axis] != 3:
            wanted = "N x 3 x H x W" if spec.layout == "NCHW" else "N x H x W x 3"
            raise ArtifactError(
                f"{self.path} takes {spec.dtype} {wanted} but was given {batch.dtype} of shape {batch.shape}; "
                "convert the batch, or call enhance with a uint8 image"
            )
        n, h, w = batch_shape(batch, spec)
        if not spec.shapes.accepts(n, h, w):
            raise ArtifactError(
                f"{self.path} takes batches of {spec.shapes} (N x H x W) but was given {n}x{h}x{w}; "
                "call enhance, which fits any size, or export the shape"
            )


def batch_shape(batch: NDArray[Any], spec: ImageSpec) -> tuple[int, int, int]:
    """N, H, W of a rank-4 batch in the spec's layout."""
    n, *rest = batch.shape
    h, w = rest[1:] if spec.layout == "NCHW" else rest[:2]
    return n, h, w


def to_batch(images: Pixels, spec: ImageSpec) -> NDArray[Any]:
    """uint8 N x H x W x 3 -> the spec's type and layout: as it is, or float32 N x 3 x H x W in [0, 1]."""
    if spec.io == "uint8":
        return images
    batch: NDArray[np.float32] = np.divide(images.transpose(0, 3, 1, 2), np.float32(255), dtype=np.float32, order="C")
    return batch


def from_batch(batch: NDArray[Any], spec: ImageSpec) -> Pixels:
    """The inverse of `to_batch`: uint8 N x H x W x 3; float values are clamped and rounded."""
    if spec.io == "uint8":
        return np.asarray(batch, dtype=np.uint8)
    return to_uint8(batch.transpose(0, 2, 3, 1))
