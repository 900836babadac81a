"""The shapes and the sizes in bytes of what a TensorRT plan takes and returns, by name."""

from __future__ import annotations

import math

import numpy as np

from runtimes.spec import CONTROLS, ImageSpec, Shape


def tensor_shape(spec: ImageSpec, shape: Shape) -> tuple[int, ...]:
    """Return the sizes of the four axes of a batch of shape (N, H, W), in the order of the spec's layout."""
    n, h, w = shape
    return (n, 3, h, w) if spec.layout == "NCHW" else (n, h, w, 3)


def input_shapes(spec: ImageSpec, batch: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each input by name; `batch` is that of the pictures, which come first."""
    pictures = {spec.input_name: batch}
    return pictures | {CONTROLS: (batch[0], 2)} if spec.controls else pictures


def input_bytes(spec: ImageSpec, batch: tuple[int, ...]) -> dict[str, int]:
    """Return the number of bytes of each input by name, for pictures of the shape `batch`."""
    kinds = {spec.input_name: spec.dtype, CONTROLS: "float32"}
    return {
        name: math.prod(shape) * np.dtype(kinds[name]).itemsize for name, shape in input_shapes(spec, batch).items()
    }


def output_shapes(spec: ImageSpec, batch: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each output by name, for pictures of the shape `batch`."""
    sides = batch[2:] if spec.layout == "NCHW" else batch[1:3]
    return spec.output_shapes(batch[0], *sides)


def output_bytes(spec: ImageSpec, batch: tuple[int, ...]) -> dict[str, int]:
    """Return the number of bytes of each output by name, for pictures of the shape `batch`."""
    shapes = output_shapes(spec, batch)
    return {name: math.prod(shape) * np.dtype(spec.output_dtype(name)).itemsize for name, shape in shapes.items()}
