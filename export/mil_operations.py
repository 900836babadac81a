"""The operations that the folded network uses as a Core ML ML Program, each written with torch."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from runtimes import ArtifactError

Inputs = dict[str, Any]  # inputs of an operation by name: tensors, lists of tensors or strings; halves are float32
Operation = Callable[[Inputs], Tensor | list[Tensor]]  # a list for an operation with several results


@functools.cache
def torch_dtype(builtin: Any) -> torch.dtype:
    """The torch type that corresponds to a type of coremltools."""
    types = importlib.import_module("coremltools.converters.mil.mil.types")
    return torch.from_numpy(np.empty(0, types.nptype_from_builtin(builtin))).dtype


# Each operation follows its definition in coremltools' documentation of MIL.


def _conv(a: Inputs) -> Tensor:
    x, pads = a["x"], a["pad"].tolist()
    if a["pad_type"] not in {"valid", "custom"}:
        raise ArtifactError(
            f"a convolution should have pad_type valid or custom but has {a['pad_type']}; export the package again"
        )
    if a["pad_type"] == "custom":
        x = F.pad(x, (pads[2], pads[3], pads[0], pads[1]))
    how = {"stride": a["strides"].tolist(), "dilation": a["dilations"].tolist(), "groups": int(a["groups"])}
    return F.conv2d(x, a["weight"], a.get("bias"), **how)


def _pad(a: Inputs) -> Tensor:
    pairs = a["pad"].reshape(-1, 2).flip(0)  # torch lists the last axis first
    mode, constant = a["mode"], float(a["constant_val"])
    if mode == "constant":
        return F.pad(a["x"], pairs.flatten().tolist(), value=constant)
    if pairs[2:].any():
        raise ArtifactError(
            f"padding by {mode} should be of the last two axes only but is {a['pad'].tolist()}; "
            "export the package again"
        )
    return F.pad(a["x"], pairs[:2].flatten().tolist(), mode=mode)


def _matmul(a: Inputs) -> Tensor:
    x, y = (a[name].mT if bool(a[f"transpose_{name}"]) else a[name] for name in ("x", "y"))
    return cast(Tensor, x @ y)


def _upsample_bilinear(a: Inputs) -> Tensor:
    factors = (float(a["scale_factor_height"]), float(a["scale_factor_width"]))
    corners = bool(a["align_corners"])
    if "half_pixel_centers" in a and bool(a["half_pixel_centers"]) == corners:
        raise ArtifactError(
            f"half_pixel_centers should be the opposite of align_corners but both are {corners}; "
            "export the package again"
        )
    return F.interpolate(
        a["x"], scale_factor=factors, mode="bilinear", align_corners=corners, recompute_scale_factor=True
    )


def _look_up(a: Inputs) -> Tensor:
    """Weights looked up in a palette.

    Up to iOS 17 there is one palette for all weights, and the indices are packed into bytes, lowest bits first. From
    iOS 18 on each block of the weights has a palette, and the indices have the shape of the weights.
    """
    indices, palettes = a["indices"], a["lut"]
    if palettes.dim() == 1:
        shape = a["shape"].tolist()
        width = len(palettes).bit_length() - 1
        bits = np.unpackbits(indices.numpy(), bitorder="little")[: math.prod(shape) * width].reshape(-1, width)
        numbers = bits.astype(np.int64) @ (1 << np.arange(width))
        return cast(Tensor, palettes[torch.from_numpy(numbers)].reshape(shape))
    if palettes.shape[-1] != 1:
        raise ArtifactError(
            f"a palette should hold single numbers but holds vectors of {palettes.shape[-1]}; export the package again"
        )
    for axis in range(indices.dim()):
        palettes = palettes.repeat_interleave(indices.shape[axis] // palettes.shape[axis], dim=axis)
    found: Tensor = palettes[..., 0].gather(-1, indices[..., None].long())
    return found[..., 0]


def _expand_dims(a: Inputs) -> Tensor:
    x: Tensor = a["x"]
    for axis in sorted(a["axes"].tolist()):
        x = x.unsqueeze(axis)
    return x


def _slice_by_index(a: Inputs) -> Tensor:
    x, begin, end = a["x"], a["begin"].tolist(), a["end"].tolist()
    masks = {name: a[name].tolist() if name in a else [False] * x.dim() for name in ("begin_mask", "end_mask")}
    strides = a["stride"].tolist() if "stride" in a else [1] * x.dim()
    squeezed = a["squeeze_mask"].tolist() if "squeeze_mask" in a else [False] * x.dim()
    index: list[int | slice] = []
    for axis in range(x.dim()):
        start = None if masks["begin_mask"][axis] else begin[axis]
        stop = None if masks["end_mask"][axis] else end[axis]
        index.append(begin[axis] if squeezed[axis] else slice(start, stop, strides[axis]))
    return cast(Tensor, x[tuple(index)])


def _split(a: Inputs) -> list[Tensor]:
    x, axis = a["x"], int(a["axis"])
    sizes = a["split_sizes"].tolist() if "split_sizes" in a else x.shape[axis] // int(a["num_splits"])
    return list(x.split(sizes, axis))


def _avg_pool(a: Inputs) -> Tensor:
    return _pooled(a).mean(0)


def _avg_pool_in_halves(a: Inputs) -> Tensor:
    """The average, rounded to half precision after every addition and after the division."""
    parts = _pooled(a)
    total = torch.zeros_like(parts[0])
    for part in parts:
        total = (total + part).half().float()
    return (total / len(parts)).half().float()


def _pooled(a: Inputs) -> Tensor:
    """The values at each position of the pooling windows: positions x N x C x h x w."""
    if a["pad_type"] not in {"valid", "custom"} or a["pad"].any() or bool(a["ceil_mode"]):
        raise ArtifactError(
            f"an average pooling should have whole windows only but has padding ({a['pad_type']}, "
            f"{a['pad'].tolist()}, ceil_mode {bool(a['ceil_mode'])}); export the package again"
        )
    (height, width), (down, across) = a["kernel_sizes"].tolist(), a["strides"].tolist()
    windows = a["x"].unfold(2, height, down).unfold(3, width, across)  # N x C x h x w x height x width
    return cast(Tensor, windows.flatten(4).movedim(4, 0))


def _mean(a: Inputs) -> Tensor:
    return cast(Tensor, a["x"].mean(a["axes"].tolist(), keepdim=bool(a["keep_dims"])))


def _mean_in_halves(a: Inputs) -> Tensor:
    """The mean over one axis after the other, rounded to half precision after every addition and division."""
    x: Tensor = a["x"]
    for axis in a["axes"].tolist():
        total = torch.zeros_like(x.select(axis, 0))
        for part in x.unbind(axis):
            total = (total + part).half().float()
        x = (total / x.shape[axis]).half().float().unsqueeze(axis)
    return x if bool(a["keep_dims"]) else x.squeeze(a["axes"].tolist())


# Computed from halves or floats, with one rounding of the result, into the memory of `out` if that is given. torch
# computes each number in float32 and rounds it once.
ELEMENTWISE: dict[str, Callable[[Inputs, Tensor | None], Tensor]] = {
    "abs": lambda a, out: torch.abs(a["x"], out=out),
    "add": lambda a, out: torch.add(a["x"], a["y"], out=out),
    "clip": lambda a, out: torch.clamp(a["x"], float(a["alpha"]), float(a["beta"]), out=out),
    "exp": lambda a, out: torch.exp(a["x"], out=out),
    "floor": lambda a, out: torch.floor(a["x"], out=out),
    "leaky_relu": lambda a, out: F.leaky_relu(a["x"], float(a["alpha"]), inplace=out is not None),
    "maximum": lambda a, out: torch.maximum(a["x"], a["y"], out=out),
    "minimum": lambda a, out: torch.minimum(a["x"], a["y"], out=out),
    "mul": lambda a, out: torch.mul(a["x"], a["y"], out=out),
    "real_div": lambda a, out: torch.div(a["x"], a["y"], out=out),
    "relu": lambda a, out: torch.clamp(a["x"], min=0, out=out),
    "sigmoid": lambda a, out: torch.sigmoid(a["x"], out=out),
    "square": lambda a, out: torch.mul(a["x"], a["x"], out=out),
    "sub": lambda a, out: torch.sub(a["x"], a["y"], out=out),
    "tanh": lambda a, out: torch.tanh(a["x"], out=out),
}
# Of the following, these only move values or choose among them, so halves stay halves, too
VIEWS = frozenset(
    {"cast", "expand_dims", "pixel_shuffle", "reshape", "slice_by_index", "split", "squeeze", "transpose"}
)
KEEPING = VIEWS | {"concat", "greater", "pad", "reduce_max", "reduce_min", "shape"}
OPERATIONS: dict[str, Operation] = {
    "avg_pool": _avg_pool,
    "cast": lambda a: a["x"],  # the evaluator converts every result to its declared type anyway
    "concat": lambda a: torch.cat([part if part.dim() else part[None] for part in a["values"]], dim=int(a["axis"])),
    "constexpr_lut_to_dense": _look_up,
    "conv": _conv,
    "expand_dims": _expand_dims,
    "greater": lambda a: a["x"] > a["y"],
    "inverse": lambda a: 1 / (a["x"] + a["epsilon"]),
    "linear": lambda a: F.linear(a["x"], a["weight"], a.get("bias")),
    "log": lambda a: (a["x"] + a["epsilon"]).log(),
    "matmul": _matmul,
    "pad": _pad,
    "pixel_shuffle": lambda a: F.pixel_shuffle(a["x"], int(a["upscale_factor"])),
    "reduce_max": lambda a: a["x"].amax(a["axes"].tolist(), keepdim=bool(a["keep_dims"])),
    "reduce_mean": _mean,
    "reduce_min": lambda a: a["x"].amin(a["axes"].tolist(), keepdim=bool(a["keep_dims"])),
    "reduce_prod": lambda a: a["x"].prod(),  # over all axes; with shapes that are not fixed, it counts the positions
    "reshape": lambda a: a["x"].reshape(a["shape"].tolist()),
    "rsqrt": lambda a: 1 / (a["x"] + a["epsilon"]).sqrt(),
    "shape": lambda a: torch.tensor(a["x"].shape),
    "silu": lambda a: F.silu(a["x"]),
    "slice_by_index": _slice_by_index,
    "split": _split,
    "sqrt": lambda a: a["x"].sqrt(),  # of halves, torch's is not always the nearest
    "squeeze": lambda a: a["x"].squeeze(a["axes"].tolist()),
    "transpose": lambda a: a["x"].permute(a["perm"].tolist()),
    "upsample_bilinear": _upsample_bilinear,
}
IN_HALVES: dict[str, Operation] = {"avg_pool": _avg_pool_in_halves, "reduce_mean": _mean_in_halves}
