"""Folded generator -> Core ML: an ML Program for fixed shapes, float arrays or pictures, half precision or palettes."""

from __future__ import annotations

import contextlib
import importlib
import io as streams
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bncagan.network.folded import FoldedGenerator
from export.artifact import LICENCE, describe, make_golden
from export.coreml_norm import in_halves
from export.mil import MilEvaluator, load_program
from export.publishing import Artifact, Opener, publish, require_target
from runtimes import METADATA_KEY, ArtifactError, ImageSpec, ShapeSet
from runtimes.coreml import WEIGHTS_KEY, CoreMlRuntime, function_name, hash_weights, import_coremltools, on_mac, quiet
from runtimes.formats import FORMATS
from runtimes.image import Pixels
from runtimes.spec import Shape
from runtimes.verdict import require_one_of

TARGETS = ("iOS16", "iOS17", "iOS18")  # several shapes in one package need the last
PALETTE_BITS = {"palette8": 8, "palette6": 6}
DEBUG_NOTES = "executorch_debug_handle_mapping.json"  # 209 KB that nothing reads
KEPT = ("encoder_conv1_", "decoder_stage2_", "decoder_tail_")  # weights next to the pixels, 4 %: palettes cast colours


class Pictures(nn.Module):
    """The generator between pictures as Core ML has them: N x 3 x H x W of codes 0..255, rounded in the graph."""

    def __init__(self, model: FoldedGenerator) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return torch.floor(self.model(image / 255) * 255 + 0.5).clamp(0, 255)


def to_coreml(
    model: FoldedGenerator,
    path: Path,
    *,
    precision: str = "fp16",
    shapes: ShapeSet,
    io: str = "float32",
    photos: Mapping[str, Pixels] | None = None,
    target: str | None = None,
) -> Artifact:
    """Export, check against the float32 `model`, and write the verdict into the package.

    The check runs through Core ML on macOS ("measured"), and elsewhere through `export.mil` ("predicted").

    precision: "fp16"; "fp32", which the Neural Engine does not run; "palette8", "palette6": fp16 with the weights of
    each large layer out of 256 or 64 values. shapes: fixed ones; several are functions of one package that share their
    weights. io: "float32", arrays at both ends, or "uint8", pictures at both ends, one at a time. photos: pictures to
    check on, besides the extreme pictures, instead of scikit-image's. target: the oldest system that has to run it,
    "iOS16", "iOS17" or "iOS18" (macOS 13, 14, 15); None for the oldest that can, which for several shapes is iOS18.

    Errors: ParityError if the check fails (the package is kept as `.rejected`); BackendMissingError without
    coremltools; ArtifactError for a range, options that contradict each other, or a wrong suffix.
    """
    require_target(path, FORMATS["coreml"], precision=precision, io=io, shapes=shapes)
    target = _choose_target(target, shapes)
    if io == "uint8" and any(n != 1 for n, _, _ in shapes.fixed):
        raise ArtifactError(f"Core ML takes one picture at a time but was asked for {shapes}; use batches of 1")
    import_coremltools()
    spec = describe(
        model,
        precision=precision,
        shapes=shapes,
        io=io,
        tools=("torch", "coremltools"),
        details={"minimum system": target},
    )
    golden = make_golden(model, shapes, photos)
    package = convert(model, spec, target)

    def write(place: Path, described: ImageSpec) -> None:
        _label(package, described)
        package.save(str(place))
        _tidy(place)

    load, label = opener()
    return publish(path, spec, golden, write, load=load, label=label)


def opener() -> tuple[Opener, str]:
    """What opens a package for its parity check on this system, and the label that its verdict gets."""
    return (CoreMlRuntime, "measured") if on_mac() else (MilEvaluator, "predicted")


def convert(model: FoldedGenerator, spec: ImageSpec, target: str) -> Any:
    """The package, not saved yet, as a `coremltools.models.MLModel`: one function for each of the spec's shapes."""
    model = model if spec.precision == "fp32" else in_halves(model)
    module = (Pictures(model) if spec.io == "uint8" else model).eval()
    coremltools = import_coremltools()
    with silent():
        packages = [_convert_shape(coremltools, module, spec, shape, target) for shape in spec.shapes.fixed]
        if spec.precision in PALETTE_BITS:
            packages = [_palettize(package, PALETTE_BITS[spec.precision]) for package in packages]
        return packages[0] if len(packages) == 1 else _merge(coremltools, packages, spec.shapes.fixed)


def _choose_target(target: str | None, shapes: ShapeSet) -> str:
    several = len(shapes.fixed) > 1
    if target is None:
        return TARGETS[-1] if several else TARGETS[0]
    require_one_of(target, TARGETS, "the target of Core ML")
    if several and target != TARGETS[-1]:
        raise ArtifactError(
            f"Core ML takes several shapes in one package from {TARGETS[-1]} on but {shapes} were asked for {target}; "
            f"raise the target, or export one package for each shape"
        )
    return target


def _convert_shape(coremltools: ModuleType, module: nn.Module, spec: ImageSpec, shape: Shape, target: str) -> Any:
    n, h, w = shape
    size = (n, 3, h, w)
    program = torch.export.export(module, (torch.rand(size),)).run_decompositions({})
    if spec.io == "uint8":
        ends = coremltools.ImageType, {"color_layout": coremltools.colorlayout.RGB}
    else:
        ends = coremltools.TensorType, {"dtype": np.float32}
    kind, options = ends
    return coremltools.convert(
        program,
        inputs=[kind(name=spec.input_name, shape=size, **options)],
        outputs=[kind(name=spec.output_name, **options)],
        convert_to="mlprogram",
        compute_precision=getattr(coremltools.precision, "FLOAT32" if spec.precision == "fp32" else "FLOAT16"),
        minimum_deployment_target=coremltools.target[target],
        skip_model_load=True,
    )


def _palettize(package: Any, bits: int) -> Any:
    """The weights of the large layers, those next to the pixels aside, out of 2^bits values by k-means."""
    optimize = importlib.import_module("coremltools.optimize.coreml")
    how = optimize.OpPalettizerConfig(mode="custom", lut_function=lambda weights: palette(weights, bits))
    names = [operation.name for operation in load_program(package).functions["main"].operations]
    kept = {name: None for name in names if any(part in name for part in KEPT)}
    return optimize.palettize_weights(package, optimize.OptimizationConfig(global_config=how, op_name_configs=kept))


def palette(weights: NDArray[Any], bits: int, rounds: int = 50) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """2^bits values for the weights, and for each weight the index of its value: k-means in one dimension.

    Starts at equal shares of the sorted weights. coremltools' own takes scikit-learn, which it does not install.
    """
    values, where, counts = np.unique(weights.ravel().astype(np.float64), return_inverse=True, return_counts=True)
    shares = (np.arange(2**bits) + 0.5) / 2**bits
    centres = np.interp(shares, (np.cumsum(counts) - 0.5 * counts) / counts.sum(), values)
    for _ in range(rounds):
        nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, values)
        total = np.bincount(nearest, counts, minlength=len(centres))
        sums = np.bincount(nearest, counts * values, minlength=len(centres))
        centres = np.where(total > 0, sums / np.maximum(total, 1), centres)
    nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, values)
    return centres.astype(weights.dtype), nearest[where.ravel()].astype(np.uint8)


def _merge(coremltools: ModuleType, packages: list[Any], shapes: tuple[Shape, ...]) -> Any:
    """One package with a function for each shape, their weights stored once; the first is what runs by default."""
    with tempfile.TemporaryDirectory() as folder:
        functions = coremltools.utils.MultiFunctionDescriptor()
        for package, shape in zip(packages, shapes, strict=True):
            single = str(Path(folder) / f"{function_name(shape)}.mlpackage")
            package.save(single)
            functions.add_function(single, "main", function_name(shape))
        functions.default_function_name = function_name(shapes[0])
        merged = str(Path(folder) / "merged.mlpackage")
        coremltools.utils.save_multifunction(functions, merged)
        opened = coremltools.models.MLModel(merged, skip_model_load=True)
        return coremltools.models.MLModel(opened.get_spec(), weights_dir=opened.weights_dir, skip_model_load=True)


def _label(package: Any, spec: ImageSpec) -> None:
    """Who, what and which: in the words that Xcode shows, and the spec for this project's own code."""
    about = metadata("bncagan")
    package.author = "BNCAGAN contributors"
    package.license = f"Weights: {spec.details[LICENCE]}. Code: {about['License-Expression']}."
    package.version = about["Version"]
    package.short_description = (
        f"Enhances photographs: the colours and light of a well-retouched one. BNCAGAN, width {spec.width}, "
        f"{spec.precision}, for {spec.shapes} (N x H x W); weights {spec.weights_sha256[:12]}."
    )
    package.user_defined_metadata[METADATA_KEY] = spec.to_json()
    package.user_defined_metadata[WEIGHTS_KEY] = hash_weights(package)
    kind = "RGB picture" if spec.io == "uint8" else "N x 3 x H x W RGB in [0, 1]"
    description = package._spec.description  # the public properties reach no function of a package with several
    for function in description.functions or [description]:
        function.input[0].shortDescription = f"The photograph, {kind}."
        function.output[0].shortDescription = f"The enhanced photograph, {kind}."


def _tidy(package: Path) -> None:
    """Without coremltools' notes for another runtime's debugger, and readable by everyone as other files are."""
    (package / DEBUG_NOTES).unlink(missing_ok=True)
    for file in package.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)


@contextmanager
def silent() -> Iterator[None]:
    """Keep progress bars, remarks and deprecations of torch's and coremltools' own code off the user's screen."""
    with quiet(), contextlib.redirect_stderr(streams.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)`", FutureWarning)
        warnings.filterwarnings("ignore", "Function _TORCH_OPS_REGISTRY", DeprecationWarning)
        warnings.filterwarnings("ignore", "Implicitly cleaning up", ResourceWarning)  # coremltools' own folders
        yield
