"""Folded generator -> Core ML: an ML Program for fixed shapes, with float arrays or pictures at its ends."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io as streams
import tempfile
import warnings
from collections import Counter
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

from bncagan.network.controls import Controlled, Outputs, changed_first
from bncagan.network.folded import FoldedGenerator
from bncagan.network.maps import WithMaps
from export.artifact import LICENCE, describe, make_golden, require_generator
from export.coreml_norm import OutsideTheDecision, in_halves
from export.fidelity import measuring
from export.mil import MilEvaluator, load_program, placement_warnings
from export.publishing import Artifact, Opener, publish, require_target
from runtimes import METADATA_KEY, ArtifactError, ImageSpec, ShapeSet
from runtimes.coreml import WEIGHTS_KEY, CoreMlRuntime, function_name, hash_weights, import_coremltools, on_mac, quiet
from runtimes.formats import FORMATS
from runtimes.image import Pixels
from runtimes.spec import CONTROLS, MAPS, TONE, Shape
from runtimes.verdict import require_one_of

TARGETS = ("iOS16", "iOS17", "iOS18")  # a package with several shapes needs the last
PALETTE_BITS = {"palette8": 8, "palette6": 6}
DEBUG_NOTES = "executorch_debug_handle_mapping.json"  # 209 KB that nothing reads
# Layers that keep their weights: those next to the pixels, 4 % of the weights, because with palettes there colours
# shift, and those of the tone head, because the whole picture becomes brighter or darker.
KEPT = ("encoder_conv1_", "decoder_stage2_", "decoder_tail_", "_members_")
ABOUT_OUTPUTS = {
    TONE: "N x 16: the constants of the curve that changes the whole photograph (docs/maps.md).",
    MAPS: "N x 12 x h x w: what else changes at each place, as rows of (A | b), for any size (docs/maps.md).",
}
LEAVING = "predicted to leave the Neural Engine"  # key in a spec's details


class Pictures(nn.Module):
    """The generator with Core ML's pictures at both ends: N x 3 x H x W, codes 0..255, rounded in the graph."""

    def __init__(self, model: nn.Module, *, picture: bool = True) -> None:
        super().__init__()
        self.model, self.picture = model, picture

    def forward(self, image: Tensor, controls: Tensor | None = None) -> Outputs:
        outputs = self.model(image / 255) if controls is None else self.model(image / 255, controls)
        return changed_first(outputs, in_codes) if self.picture else outputs


def in_codes(enhanced: Tensor) -> Tensor:
    """[0, 1] -> whole numbers of 0..255."""
    # An image output takes no scale, and how Core ML rounds is undocumented: apple/coremltools#2213
    return torch.floor(enhanced * 255 + 0.5).clamp(0, 255)


def to_coreml(
    model: FoldedGenerator,
    path: Path,
    *,
    precision: str = "fp16",
    shapes: ShapeSet,
    io: str = "float32",
    controls: bool = False,
    output: str = "picture",
    photos: Mapping[str, Pixels] | None = None,
    large_photos: Mapping[str, Pixels] | None = None,
    target: str | None = None,
) -> Artifact:
    """Export to Core ML, check against the float32 `model`, and store the verdict in the package.

    The check runs through Core ML on macOS ("measured"), and through `export.mil` elsewhere ("predicted").

    path: package to write, .mlpackage.
    precision: "fp16"; "fp32", which the Neural Engine does not run; "palette8" or "palette6", which is fp16 with the
    weights of each large layer chosen from 256 or 64 values.
    shapes: fixed shapes; several become functions of one package that share their weights.
    io: "float32" for arrays, "uint8" for pictures at both ends, one at a time.
    controls: give the graph the second input `controls`, an array: strength and exposure of each picture.
    output: "picture", "maps" (the change in a form that applies at any size, docs/maps.md), or "both".
    photos: pictures to check on, instead of scikit-image's; extreme pictures are always added.
    large_photos: photographs on which maps are compared with the network at full size; None for no comparison.
    target: oldest system that must run it, "iOS16", "iOS17" or "iOS18" (macOS 13, 14, 15); None for the oldest
    possible, which is iOS18 for several shapes and iOS16 otherwise.

    Errors: ParityError if the check fails (the package is kept as `.rejected`); BackendMissingError without
    coremltools; ArtifactError for a range, contradictory options, or a wrong suffix.

    Example:

        model = fold(load_generator("small")[0])
        artifact = to_coreml(model, Path("small.mlpackage"), shapes=ShapeSet.of((1, 512, 512)), io="uint8")
        print(artifact.spec.details)
    """
    require_target(path, FORMATS["coreml"], precision=precision, io=io, shapes=shapes)
    require_generator(model, precision, ("fp16", "fp32"))
    target = _choose_target(target, shapes)
    if io == "uint8" and any(n != 1 for n, _, _ in shapes.fixed):
        raise ArtifactError(f"pictures of Core ML should have a batch of 1 but have {shapes}; use --batch 1")
    import_coremltools()
    spec = describe(
        model,
        precision=precision,
        shapes=shapes,
        io=io,
        controls=controls,
        output=output,
        tools=("torch", "coremltools"),
        details={"minimum system": target},
    )
    golden = make_golden(model, spec.shapes, photos, controls=spec.controls, output=spec.output)
    package = convert(model, spec, target)
    spec = dataclasses.replace(spec, details=spec.details | leaving_details(package, precision))

    def write(place: Path, described: ImageSpec) -> None:
        _label(package, described)
        package.save(str(place))
        _tidy(place)

    load, label = opener()
    return publish(path, spec, golden, write, load=load, label=label, measure=measuring(model, large_photos))


def leaving_details(package: Any, precision: str) -> dict[str, str]:
    """For the spec's details: which operations of a `coremltools` model probably leave the Neural Engine, if any."""
    if precision == "fp32":
        return {LEAVING: "all operations, because they compute in fp32"}
    counts = Counter(f"{warning.operation} {warning.reason}" for warning in placement_warnings(package))
    return {LEAVING: ", ".join(f"{count} x {what}" for what, count in counts.items())} if counts else {}


def opener() -> tuple[Opener, str]:
    """What opens a package for its parity check on this system, and the label of the verdict."""
    return (CoreMlRuntime, "measured") if on_mac() else (MilEvaluator, "predicted")


def convert(model: FoldedGenerator, spec: ImageSpec, target: str) -> Any:
    """Convert to a `coremltools.models.MLModel`, not saved yet, with one function for each shape of the spec."""
    model = model if spec.precision == "fp32" else in_halves(model)
    module: nn.Module = model if spec.output == "picture" else WithMaps(model, picture=spec.output == "both")
    module = Controlled(module) if spec.controls else module
    module = (Pictures(module, picture=spec.output != "maps") if spec.io == "uint8" else module).eval()
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
    require_one_of(target, TARGETS, "--target")
    if several and target != TARGETS[-1]:
        raise ArtifactError(
            f"--target should be {TARGETS[-1]} for several shapes in one package ({shapes}) but is {target}; "
            "raise it, or export one package for each shape"
        )
    return target


def _convert_shape(coremltools: ModuleType, module: nn.Module, spec: ImageSpec, shape: Shape, target: str) -> Any:
    n, h, w = shape
    size = (n, 3, h, w)
    # coremltools wants a decomposed program; the default table would turn each reflection padding into gathers, which
    # leave the Neural Engine, hence the empty one: apple/coremltools#2743, microsoft/onnxruntime#28022
    examples = (torch.rand(size), torch.ones(n, 2))[: 2 if spec.controls else 1]
    program = torch.export.export(module, examples).run_decompositions({})
    if spec.io == "uint8":
        ends = coremltools.ImageType, {"color_layout": coremltools.colorlayout.RGB}
    else:
        ends = coremltools.TensorType, {"dtype": np.float32}  # without it, arrays are fp16 from iOS 16 on
    kind, options = ends
    # Here and not as casts in the module, which do not survive the conversion: apple/coremltools#1761
    if spec.precision == "fp32":
        precision = coremltools.precision.FLOAT32
    else:
        precision = coremltools.transform.FP16ComputePrecision(op_selector=OutsideTheDecision())
    inputs = [kind(name=spec.input_name, shape=size, **options)]
    if spec.controls:
        inputs.append(coremltools.TensorType(name=CONTROLS, shape=(n, 2), dtype=np.float32))
    return coremltools.convert(
        program,
        inputs=inputs,
        outputs=[
            kind(name=name, **options)
            if name == spec.output_name
            else coremltools.TensorType(name=name, dtype=np.float32)
            for name in spec.outputs
        ],
        convert_to="mlprogram",
        compute_precision=precision,
        minimum_deployment_target=coremltools.target[target],
        skip_model_load=True,
    )


def _palettize(package: Any, bits: int) -> Any:
    """Store the weights of each large layer as indices into 2^bits values, except in the layers of `KEPT`.

    The other large constants, the matrices of the tone head's area mean, are of no layer.
    """
    optimize = importlib.import_module("coremltools.optimize.coreml")
    how = optimize.OpPalettizerConfig(mode="custom", lut_function=lambda weights: palette(weights, bits))
    names = [operation.name for operation in load_program(package).functions["main"].operations]
    kept = {name: None for name in names if any(part in name for part in KEPT)}
    types = {"conv": how, "linear": how}
    return optimize.palettize_weights(package, optimize.OptimizationConfig(op_type_configs=types, op_name_configs=kept))


def palette(weights: NDArray[Any], bits: int, rounds: int = 50) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Choose 2^bits values for the weights by k-means in one dimension; returns the values and each weight's index.

    The first values split the sorted weights into equal shares. coremltools has its own k-means, but that needs
    scikit-learn, which coremltools does not install.
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
    """One package with a function for each shape and shared weights; the first function is the default."""
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
    """Fill in the descriptions that Xcode shows, and store the spec for this project's own code."""
    about = metadata("bncagan")
    parts = f"width {spec.width}" if spec.width else "the tone head alone"
    package.author = "BNCAGAN contributors"
    package.license = f"Weights: {spec.details[LICENCE]}. Code: {about['License-Expression']}."
    package.version = about["Version"]
    package.short_description = (
        f"Enhances photographs: the colours and light of a well-retouched one. BNCAGAN, {parts}, "
        f"{spec.precision}, for {spec.shapes} (N x H x W); weights {spec.weights_sha256[:12]}."
    )
    package.user_defined_metadata[METADATA_KEY] = spec.to_json()
    package.user_defined_metadata[WEIGHTS_KEY] = hash_weights(package)
    kind = "RGB picture" if spec.io == "uint8" else "N x 3 x H x W RGB in [0, 1]"
    description = package._spec.description  # public properties do not reach a package's functions if it has several
    for function in description.functions or [description]:
        function.input[0].shortDescription = f"The photograph, {kind}."
        if spec.controls:
            function.input[
                1
            ].shortDescription = (
                "N x 2: strength of the change, 0 to 1.5, usually 1; exposure in stops, -2 to 2, usually 0."
            )
        for end in function.output:
            end.shortDescription = ABOUT_OUTPUTS.get(end.name, f"The enhanced photograph, {kind}.")


def _tidy(package: Path) -> None:
    """Delete coremltools' notes for another runtime's debugger, and give the files the usual permissions."""
    (package / DEBUG_NOTES).unlink(missing_ok=True)
    for file in package.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)


@contextmanager
def silent() -> Iterator[None]:
    """Hide the progress bars, remarks and deprecation warnings of torch and coremltools."""
    with quiet(), contextlib.redirect_stderr(streams.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)`", FutureWarning)
        warnings.filterwarnings("ignore", "Function _TORCH_OPS_REGISTRY", DeprecationWarning)
        warnings.filterwarnings("ignore", "Implicitly cleaning up", ResourceWarning)  # temporary folders of coremltools
        yield
