"""Run the ML Program of a saved Core ML package with torch, on any system: a reference for what Core ML should answer.

It executes what the package holds, operation by operation in the types that it declares, so it finds what a converter
got wrong. What it finds is `predicted`: Apple's hardware may round otherwise.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from runtimes import ArtifactError, Runtime
from runtimes.base import batch_shape
from runtimes.coreml import import_coremltools, quiet, read_package

SMALLEST_NORMAL = 2.0**-14  # of half precision
LARGEST_POOL = 13  # side of the kernel that the Neural Engine takes

Inputs = dict[str, Any]  # of an operation by name: tensors, texts, or lists of tensors; halves come as float32
Operation = Callable[[Inputs], Tensor]


class MilEvaluator(Runtime):
    """A saved package whose ML Program torch executes on the CPU.

    Each operation computes in float32 and its result is rounded to the type that the program declares for it; so sums
    (of a convolution, a mean) are kept in float32 and rounded once. Pictures are cut to whole codes: Core ML does not
    document how it rounds, so that a program has to do it.

    pessimistic: what hardware might do at worst to halves: subnormal ones become 0, and means and sums over axes are
    rounded after each addition.

    Errors: BackendMissingError; ArtifactError as `runtimes.coreml.read_package`, or for an operation that this
    evaluator does not know.
    """

    def __init__(self, path: Path, *, pessimistic: bool = False) -> None:
        package = read_package(path)
        self.path = path
        self.spec = package.spec
        self.name = f"ML Program evaluator, torch {torch.__version__}"
        self.device = "cpu, pessimistic" if pessimistic else "cpu"
        program = load_program(package.model)
        self._functions = {shape: program.functions[name] for shape, name in package.functions.items()}
        self._pessimistic = pessimistic
        for function in self._functions.values():
            for operation in function.operations:
                if operation.op_type not in {"const", *OPERATIONS}:
                    raise ArtifactError(
                        f"{path} should hold operations that the evaluator knows but holds {operation.op_type}; "
                        "check the package on a Mac, or export it again"
                    )

    def _run(self, batch: NDArray[Any]) -> NDArray[Any]:
        function = self._functions[batch_shape(batch, self.spec)]
        image = torch.tensor(batch)
        if self.spec.io == "float32":
            return execute(function, {self.spec.input_name: image}, pessimistic=self._pessimistic)[0].numpy()
        codes = execute(function, {self.spec.input_name: image.permute(0, 3, 1, 2)}, pessimistic=self._pessimistic)[0]
        picture: NDArray[Any] = np.nan_to_num(codes.clamp(0, 255).permute(0, 2, 3, 1).numpy())
        return picture.astype(np.uint8, order="C")


@torch.inference_mode()
def execute(function: Any, inputs: Mapping[str, Tensor], *, pessimistic: bool = False) -> list[Tensor]:
    """The outputs of a function of an ML Program, each in its declared type; see MilEvaluator for the arithmetic."""
    values = {var: inputs[name].to(_dtype(var)) for name, var in function.inputs.items()}
    for operation in function.operations:
        if operation.op_type != "const":
            given = {name: _read(var, values, pessimistic) for name, var in operation.inputs.items() if var is not None}
            output = operation.outputs[0]
            in_halves = pessimistic and _dtype(output) == torch.float16
            known = (OPERATIONS | IN_HALVES if in_halves else OPERATIONS)[operation.op_type]
            values[output] = _rounded(known(given), _dtype(output), pessimistic)
    return [values[output] for output in function.outputs]


def _read(var: Any, values: Mapping[Any, Tensor], pessimistic: bool) -> Any:
    """What an operation computes with: halves, exactly, as float32."""
    if isinstance(var, list | tuple):
        return [_read(part, values, pessimistic) for part in var]
    if var not in values and isinstance(var.val, str):
        return var.val
    value = values[var] if var in values else _rounded(torch.from_numpy(np.array(var.val)), _dtype(var), pessimistic)
    return value.float() if value.dtype == torch.float16 else value


def _rounded(value: Tensor, dtype: torch.dtype, pessimistic: bool) -> Tensor:
    value = value.to(dtype)
    if pessimistic and dtype == torch.float16:
        return torch.where(value.abs() < SMALLEST_NORMAL, torch.zeros_like(value), value)
    return value


def load_program(model: Any) -> Any:
    """The ML Program of a `coremltools.models.MLModel`: named functions of operations, weights included."""
    import_coremltools()
    spec = model.get_spec()
    loader = importlib.import_module("coremltools.converters.mil.frontend.milproto.load")
    with quiet():
        return loader.load(spec, spec.specificationVersion, model.weights_dir)


class Leaving(NamedTuple):
    """An operation that is known to leave the Apple Neural Engine, by function and output, and why; not measured."""

    function: str
    operation: str
    output: str
    reason: str
    label: str = "predicted"


def placement_warnings(path: Path) -> list[Leaving]:
    """The operations of a package that are known to leave the Neural Engine; the conversions at its ends are none.

    Errors: as `runtimes.coreml.read_package`. Measure with `CoreMlRuntime.placement` on a Mac.
    """
    return [
        Leaving(name, operation.op_type, operation.outputs[0].name, reason)
        for name, function in load_program(read_package(path).model).functions.items()
        for operation in function.operations
        for reason in _reasons_to_leave(operation)
    ]


def _reasons_to_leave(operation: Any) -> Iterator[str]:
    kind, given = operation.op_type, operation.inputs
    if kind != "cast" and not _is_constant(operation) and _dtype(operation.outputs[0]) == torch.float32:
        yield "computes in fp32"
    if kind.startswith("gather"):
        yield "gathers"
    if kind == "conv" and max(given["dilations"].val) > 1:
        yield f"is dilated by {max(given['dilations'].val)}"
    if kind.endswith("_pool") and max(given["kernel_sizes"].val) > LARGEST_POOL:
        yield f"pools over {max(given['kernel_sizes'].val)} > {LARGEST_POOL}"


def _is_constant(operation: Any) -> bool:
    kind: str = operation.op_type
    return kind == "const" or kind.startswith("constexpr_")


def _dtype(var: Any) -> torch.dtype:
    """The type that the program declares; integers of less than a byte are bytes."""
    return _torch_dtype(var.dtype)


@functools.cache
def _torch_dtype(builtin: Any) -> torch.dtype:
    types = importlib.import_module("coremltools.converters.mil.mil.types")
    return torch.from_numpy(np.empty(0, types.nptype_from_builtin(builtin))).dtype


# The operations, by the definitions in coremltools' documentation of MIL


def _conv(a: Inputs) -> Tensor:
    x, pads = a["x"], a["pad"].tolist()
    if a["pad_type"] not in {"valid", "custom"}:
        raise ArtifactError(
            f"a convolution should be padded as valid or custom but is as {a['pad_type']}; export it again"
        )
    if a["pad_type"] == "custom":
        x = F.pad(x, (pads[2], pads[3], pads[0], pads[1]))
    how = {"stride": a["strides"].tolist(), "dilation": a["dilations"].tolist(), "groups": int(a["groups"])}
    return F.conv2d(x, a["weight"], a.get("bias"), **how)


def _pad(a: Inputs) -> Tensor:
    pairs = a["pad"].reshape(-1, 2).flip(0)  # torch begins with the last axis
    mode, constant = a["mode"], float(a["constant_val"])
    if mode == "constant":
        return F.pad(a["x"], pairs.flatten().tolist(), value=constant)
    if pairs[2:].any():
        raise ArtifactError(f"padding by {mode} should be of the last two axes but is of {pairs}; export it again")
    return F.pad(a["x"], pairs[:2].flatten().tolist(), mode=mode)


def _upsample_bilinear(a: Inputs) -> Tensor:
    factors = (float(a["scale_factor_height"]), float(a["scale_factor_width"]))
    corners = bool(a["align_corners"])
    if "half_pixel_centers" in a and bool(a["half_pixel_centers"]) == corners:
        raise ArtifactError("half_pixel_centers should be the opposite of align_corners but equals it; export it again")
    return F.interpolate(
        a["x"], scale_factor=factors, mode="bilinear", align_corners=corners, recompute_scale_factor=True
    )


def _look_up(a: Inputs) -> Tensor:
    """Weights out of a palette. Up to iOS 17 one for all, with indices packed from the lowest bit on; from iOS 18 one
    for each block of the weights, with indices of their shape."""
    indices, palettes = a["indices"], a["lut"]
    if palettes.dim() == 1:
        shape = a["shape"].tolist()
        width = len(palettes).bit_length() - 1
        bits = np.unpackbits(indices.numpy(), bitorder="little")[: math.prod(shape) * width].reshape(-1, width)
        numbers = bits.astype(np.int64) @ (1 << np.arange(width))
        return cast(Tensor, palettes[torch.from_numpy(numbers)].reshape(shape))
    if palettes.shape[-1] != 1:
        raise ArtifactError("a palette should hold numbers but holds vectors; export it again")
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


def _avg_pool(a: Inputs) -> Tensor:
    return _pooled(a).mean(0)


def _avg_pool_in_halves(a: Inputs) -> Tensor:
    """Rounded after every addition and the division."""
    parts = _pooled(a)
    total = torch.zeros_like(parts[0])
    for part in parts:
        total = (total + part).half().float()
    return (total / len(parts)).half().float()


def _pooled(a: Inputs) -> Tensor:
    """What each place of the windows holds: places x N x C x h x w."""
    if a["pad_type"] not in {"valid", "custom"} or a["pad"].any() or bool(a["ceil_mode"]):
        raise ArtifactError(
            f"an average should be taken over whole windows but is padded ({a['pad_type']}, {a['pad'].tolist()}, "
            f"ceil_mode {bool(a['ceil_mode'])}); export it again"
        )
    (height, width), (down, across) = a["kernel_sizes"].tolist(), a["strides"].tolist()
    windows = a["x"].unfold(2, height, down).unfold(3, width, across)  # N x C x h x w x height x width
    return cast(Tensor, windows.flatten(4).movedim(4, 0))


def _mean(a: Inputs) -> Tensor:
    return cast(Tensor, a["x"].mean(a["axes"].tolist(), keepdim=bool(a["keep_dims"])))


def _mean_in_halves(a: Inputs) -> Tensor:
    """Rounded after every addition and every division, one axis after the other."""
    x: Tensor = a["x"]
    for axis in a["axes"].tolist():
        total = torch.zeros_like(x.select(axis, 0))
        for part in x.unbind(axis):
            total = (total + part).half().float()
        x = (total / x.shape[axis]).half().float().unsqueeze(axis)
    return x if bool(a["keep_dims"]) else x.squeeze(a["axes"].tolist())


OPERATIONS: dict[str, Operation] = {
    "abs": lambda a: a["x"].abs(),
    "add": lambda a: a["x"] + a["y"],
    "avg_pool": _avg_pool,
    "cast": lambda a: a["x"],  # what rounds every result to its declared type converts it
    "clip": lambda a: a["x"].clamp(float(a["alpha"]), float(a["beta"])),
    "concat": lambda a: torch.cat([part if part.dim() else part[None] for part in a["values"]], dim=int(a["axis"])),
    "constexpr_lut_to_dense": _look_up,
    "conv": _conv,
    "expand_dims": _expand_dims,
    "floor": lambda a: a["x"].floor(),
    "inverse": lambda a: 1 / (a["x"] + a["epsilon"]),
    "leaky_relu": lambda a: F.leaky_relu(a["x"], float(a["alpha"])),
    "linear": lambda a: F.linear(a["x"], a["weight"], a.get("bias")),
    "log": lambda a: (a["x"] + a["epsilon"]).log(),
    "maximum": lambda a: torch.maximum(a["x"], a["y"]),
    "minimum": lambda a: torch.minimum(a["x"], a["y"]),
    "mul": lambda a: a["x"] * a["y"],
    "pad": _pad,
    "pixel_shuffle": lambda a: F.pixel_shuffle(a["x"], int(a["upscale_factor"])),
    "real_div": lambda a: a["x"] / a["y"],
    "reduce_max": lambda a: a["x"].amax(a["axes"].tolist(), keepdim=bool(a["keep_dims"])),
    "reduce_mean": _mean,
    "reduce_prod": lambda a: a["x"].prod(),  # of all axes: the number of positions, in shapes that are not fixed
    "relu": lambda a: a["x"].relu(),
    "reshape": lambda a: a["x"].reshape(a["shape"].tolist()),
    "rsqrt": lambda a: 1 / (a["x"] + a["epsilon"]).sqrt(),
    "shape": lambda a: torch.tensor(a["x"].shape),
    "sigmoid": lambda a: a["x"].sigmoid(),
    "slice_by_index": _slice_by_index,
    "sqrt": lambda a: a["x"].sqrt(),
    "square": lambda a: a["x"] * a["x"],
    "sub": lambda a: a["x"] - a["y"],
    "tanh": lambda a: a["x"].tanh(),
    "transpose": lambda a: a["x"].permute(a["perm"].tolist()),
    "upsample_bilinear": _upsample_bilinear,
}
IN_HALVES: dict[str, Operation] = {"avg_pool": _avg_pool_in_halves, "reduce_mean": _mean_in_halves}
