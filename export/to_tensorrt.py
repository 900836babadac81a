"""Folded generator, or its ONNX file -> TensorRT plan, built on the device that will run it.

`to_tensorrt` needs torch to make the ONNX file; `build_engine` does not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rich.console import Console

import runtimes
from export.engine_layers import inspect, layer_types, require_layers
from export.exporters import EXPORTERS
from export.publishing import Artifact, publish, require_target
from runtimes import ArtifactError, ImageSpec, ShapeSet
from runtimes.cuda_memory import Cuda, Gpu
from runtimes.files import locked, replacing
from runtimes.formats import FORMATS
from runtimes.golden import Golden, golden_path
from runtimes.image import Pixels
from runtimes.plan_record import SIDECAR, PlanRecord, sidecar_path
from runtimes.plan_shapes import input_shapes, tensor_shape
from runtimes.trt import deserialize, import_tensorrt, logger_of, said

if TYPE_CHECKING:
    from bncagan.network.folded import FoldedGenerator

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the builder; a cached plan is used only for the same options."""

    workspace_mib: int | None = None
    """Scratch memory for the layers, MiB; None lets TensorRT use all there is."""
    weak_typing: bool = False
    """Let TensorRT choose the precision of each layer; TensorRT 10 only."""


def to_tensorrt(
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
    workspace_mib: int | None = None,
    timing_cache: Path | None = None,
    plan_cache: Path | None = None,
    weak_typing: bool = False,
    calibration: Mapping[str, Pixels] | None = None,
) -> Artifact:
    """Export to PATH.onnx, which has a parity check of its own in ONNX Runtime, and build the engine from that file.

    path: plan to write, .engine.
    precision: "fp16"; "fp32"; "int8", where everything but the int8 convolutions runs in float32.
    shapes: one fixed shape, or a range, for whose optimum the engine is tuned.
    io: type of the pixels, "float32" or "uint8".
    controls: give the graph the second input `controls`, strength and exposure of each picture.
    output: "picture", "maps" (the change in a form that applies at any size, docs/maps.md), or "both".
    photos: pictures to check on, instead of scikit-image's; extreme pictures are always added.
    large_photos: photographs on which maps are compared with the network at full size; None for no comparison.
    calibration: photographs to calibrate int8 on, instead of scikit-image's.
    workspace_mib, timing_cache, plan_cache, weak_typing: as in `build_engine`.

    Errors: as `build_engine` and `export.to_onnx.to_onnx`.

    Example:

        model = fold(load_generator("small")[0])
        artifact = to_tensorrt(model, Path("small.engine"), shapes=ShapeSet.of((1, 512, 512)))
        print(artifact.spec.details)
    """
    require_target(path, FORMATS["tensorrt"], precision=precision, io=io, shapes=shapes)
    import_tensorrt()  # if it is missing, say so before the export
    given: dict[str, Any] = {} if calibration is None else {"calibration": calibration}
    if precision == "int8":
        given["scheme"] = importlib.import_module("export.int8.scheme").TENSORRT  # imported here because it needs torch
    onnx = path.with_name(f"{path.name}.onnx")
    given |= {"io": io, "controls": controls, "output": output, "photos": photos, "large_photos": large_photos}
    EXPORTERS["onnx"](model, onnx, precision=precision, shapes=shapes, **given)
    return build_engine(
        onnx,
        path,
        workspace_mib=workspace_mib,
        timing_cache=timing_cache,
        plan_cache=plan_cache,
        weak_typing=weak_typing,
    )


def build_engine(
    onnx: Path,
    path: Path,
    *,
    workspace_mib: int | None = None,
    timing_cache: Path | None = None,
    plan_cache: Path | None = None,
    weak_typing: bool = False,
) -> Artifact:
    """Build an engine from an .onnx artifact of this project for the first GPU, and check it there; needs no torch.

    Shapes, pixel type and precision are those of the ONNX file, whose types TensorRT must keep (strong typing). The
    file's spec is read with ONNX Runtime, because TensorRT's parser does not show it. The check uses the golden
    pictures of the ONNX file.

    onnx: .onnx artifact, with its golden pictures beside it.
    path: plan to write, .engine.
    workspace_mib, weak_typing: see `Options`.
    timing_cache: file with the timings of earlier builds, which make the next build faster; created if needed.
    plan_cache: folder of plans that passed their check; created if needed. A plan from the same ONNX file, TensorRT,
    GPU and options is used instead of building; of several processes one builds it, and the others wait.

    Errors: ParityError if the check fails (plan and sidecar are kept as `.rejected`); BackendMissingError without
    TensorRT, cuda-python or ONNX Runtime; ArtifactError for contradictory options or options that this TensorRT does
    not have, an ONNX file that is damaged or not of this project, or layers that are not of the file's precision.
    """
    if onnx.suffix.lower() != FORMATS["onnx"].suffix:
        raise ArtifactError(
            f"{onnx} should end in {FORMATS['onnx'].suffix} but ends in {onnx.suffix or 'nothing'}; "
            "make one with bncagan export onnx"
        )
    trt = import_tensorrt()
    with runtimes.load(onnx) as session:
        spec = session.spec
    require_target(path, FORMATS["tensorrt"], precision=spec.precision, io=spec.io, shapes=spec.shapes)
    options = Options(workspace_mib, weak_typing)
    _require_options(trt, spec, options)
    golden = Golden.load(golden_path(onnx))
    with contextlib.closing(Cuda(0)) as cuda:
        gpu = cuda.gpu()
    onnx_sha256 = _sha256(onnx.read_bytes())
    cached = None if plan_cache is None else plan_cache / f"{_key(trt, onnx_sha256, gpu, options)}.plan"
    with (
        contextlib.nullcontext() if plan_cache is None else locked(plan_cache / ".lock")
    ):  # the others then find the plan
        plan = _cached(trt, cached) or _build(trt, onnx, spec, options, timing_cache)
        layers = layer_types(inspect(trt, deserialize(trt, plan, path), spec), path)
        told = require_layers(layers, spec.precision, path, weak=weak_typing)
        described = dataclasses.replace(
            spec,
            tools=spec.tools | {"tensorrt": trt.__version__},
            details=spec.details | {"layers with weights": told},
            parity=None,
        )
        record = PlanRecord(
            spec=described,
            tensorrt=trt.__version__,
            gpu=gpu.name,
            compute_capability=gpu.compute_capability,
            onnx_sha256=onnx_sha256,
            plan_sha256=_sha256(plan),
        )

        def write(target: Path, judged: ImageSpec) -> None:
            target.write_bytes(plan)
            sidecar_path(target).write_text(dataclasses.replace(record, spec=judged).to_json(), encoding="utf-8")

        artifact = publish(path, described, golden, write, beside=(SIDECAR,))
        if cached is not None:
            _store(cached, plan)
    return artifact


def _require_options(trt: ModuleType, spec: ImageSpec, options: Options) -> None:
    """Refuse options that this TensorRT does not have or that contradict the ONNX file; raises ArtifactError."""
    mib = options.workspace_mib
    if mib is not None and mib < 1:
        raise ArtifactError(f"--workspace-mib should be at least 1 but is {mib}; leave it out to use all memory")
    if options.weak_typing and spec.precision == "fp32":
        raise ArtifactError("--weak-typing should be used with fp16 or int8 but the ONNX file is fp32; leave it out")
    if options.weak_typing and not hasattr(trt.BuilderFlag, "FP16"):
        raise ArtifactError(
            f"--weak-typing should be used with TensorRT 10 but this is {trt.__version__}, whose networks are always "
            "strongly typed; leave it out"
        )


def _build(trt: ModuleType, onnx: Path, spec: ImageSpec, options: Options, timing_cache: Path | None) -> bytes:
    """Build the plan of an ONNX file; raises ArtifactError if TensorRT cannot read the file or builds nothing."""
    log = logger_of(trt)
    log.kept.clear()
    builder = trt.Builder(log)
    network = builder.create_network(_network_flags(trt, options))
    parser = trt.OnnxParser(network, log)  # owns the weights, so it must live until the plan is built
    if not parser.parse(onnx.read_bytes()):
        reasons = [" ".join(parser.get_error(i).desc().split()) for i in range(parser.num_errors)]
        raise ArtifactError(
            f"{onnx} should be an ONNX file that TensorRT {trt.__version__} can read but is not "
            f"({'; '.join(reasons) or said(log)}); export it again"
        )
    config = _configure(trt, builder, spec, options)
    if timing_cache is not None:
        _restore_timings(config, timing_cache)
    console = Console(stderr=True)
    with console.status(f"building with TensorRT {trt.__version__}, which takes minutes on a small board"):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ArtifactError(
            f"{onnx} should give a plan but TensorRT {trt.__version__} built none ({said(log)}); "
            "free some memory, or build a smaller shape"
        )
    if timing_cache is not None:
        _store(timing_cache, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def _network_flags(trt: ModuleType, options: Options) -> int:
    """The flag for strong typing, looked up by name because its number differs between versions."""
    # lightvector/KataGo#1206: STRONGLY_TYPED is 1 in TensorRT 10 and 0 in 11.
    if options.weak_typing or not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        return 0
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _configure(trt: ModuleType, builder: Any, spec: ImageSpec, options: Options) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # otherwise the inspector shows no types
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 layers must compute in float32
    # TensorRT 11 has no such flags, and code that sets them if they exist builds float32 there: roboflow/rf-detr#1453.
    # Hence strong typing by default, and `require_layers` after the build.
    if options.weak_typing and hasattr(trt.BuilderFlag, "FP16"):
        config.set_flag(trt.BuilderFlag.FP16)
    if options.weak_typing and spec.precision == "int8" and hasattr(trt.BuilderFlag, "INT8"):
        config.set_flag(trt.BuilderFlag.INT8)
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * 2**20)
    shapes = spec.shapes
    if shapes.minimum is not None and shapes.optimum is not None and shapes.maximum is not None:
        profile = builder.create_optimization_profile()
        corners = [
            input_shapes(spec, tensor_shape(spec, shape)) for shape in (shapes.minimum, shapes.optimum, shapes.maximum)
        ]
        for name in corners[0]:
            profile.set_shape(name, *(corner[name] for corner in corners))
        config.add_optimization_profile(profile)
    return config


def _restore_timings(config: Any, path: Path) -> None:
    """Give the builder the timings of earlier builds; starts with none if the file is of another machine."""
    stored = path.read_bytes() if path.exists() else b""
    cache = config.create_timing_cache(stored)
    if cache is None or not config.set_timing_cache(cache, False):
        LOG.warning("%s should hold timings of this TensorRT and GPU but does not; it is replaced", path)
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _key(trt: ModuleType, onnx_sha256: str, gpu: Gpu, options: Options) -> str:
    """A file name for the plan of this ONNX file (which holds the shapes), TensorRT, GPU and options."""
    what = [onnx_sha256, trt.__version__, dataclasses.astuple(gpu), dataclasses.astuple(options)]
    return _sha256(json.dumps(what).encode())


def _cached(trt: ModuleType, path: Path | None) -> bytes | None:
    """The plan from the cache; None if it does not exist or cannot be loaded."""
    if path is None or not path.exists():
        return None
    plan = path.read_bytes()
    try:
        deserialize(trt, plan, path)
    except ArtifactError as error:
        LOG.warning("%s; it is built again now", error)
        return None
    return plan


def _store(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
