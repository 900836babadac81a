"""The wrapper of .pt2 artifacts, exported programs that PyTorch runs."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import itertools
import json
import logging
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from runtimes.apply.change import MAP_ROWS, TONE_CONSTANTS
from runtimes.backends import import_backend, read_spec, require_threads
from runtimes.base import Runtime
from runtimes.errors import ArtifactError, failing
from runtimes.seal import digest_of
from runtimes.spec import CONTROLS, MAPS, TONE, ImageSpec

GRAPH, SAVING = "models/model.json", ".data/serialization_id"  # files of the archive
# How arrays that are no pictures are described, the number of their axes, and the size of the second one
SIZES = {
    CONTROLS: ("N x 2", 2, 2),
    TONE: (f"N x {TONE_CONSTANTS}", 2, TONE_CONSTANTS),
    MAPS: (f"N x {MAP_ROWS} x h x w", 4, MAP_ROWS),
}
SPEC_FILE = "bncagan.json"  # name of the spec among the extra files of torch.export.save


class ExportedProgramRuntime(Runtime):
    """A program written by `torch.export.save` with the spec as an extra file.

    threads: CPU threads of one operator, which PyTorch sets for the whole process; None changes nothing.
    device: PyTorch's name of the device, such as "cpu" or "cuda:0".

    PyTorch executes a program as Python code, so open only files that you trust. Files with pickled objects or compiled
    libraries, which bncagan never writes, are refused before PyTorch opens them.

    Errors: BackendMissingError. ArtifactError when the file is damaged, has no spec or does not match it, when the
    device is unknown or missing, or when `threads` is below 1.
    """

    def __init__(self, path: Path, *, threads: int | None = None, device: str = "cpu") -> None:
        torch = import_backend(".pt2")
        self.path = path
        self.name = f"torch {torch.__version__}"
        if threads is not None:
            torch.set_num_threads(require_threads(threads))
        self.spec = read_spec(_inspect(torch, path), path)
        program = _open(torch, path)
        _match(program, self.spec, path)
        self._torch = torch
        self._device, self._module = _place(torch, program, device, path)
        self.device = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else str(self._device)

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        with self._torch.inference_mode():
            returned = self._module(*(self._torch.tensor(given, device=self._device) for given in inputs.values()))
        results = returned if isinstance(returned, tuple) else (returned,)
        return {name: result.cpu().numpy() for name, result in zip(self.spec.outputs, results, strict=True)}

    def content_sha256(self) -> str:
        """Return the SHA-256 of the archive's files without the spec.

        The names of nodes and the mark of one act of saving are left out, too, because PyTorch makes them anew when a
        program is saved again; so are offsets of results within their storage, which it forgets.
        """
        digest = hashlib.sha256()
        with zipfile.ZipFile(self.path) as archive:
            for full in sorted(archive.namelist()):
                name, data = full.partition("/")[2], archive.read(full)
                if name == GRAPH:
                    graph = json.loads(data)
                    for node in graph["graph_module"]["graph"]["nodes"]:
                        node.pop("name", None)
                    for result in graph["graph_module"]["graph"]["tensor_values"].values():
                        result["storage_offset"] = {"as_int": 0}
                    data = digest_of(graph).encode()
                if name not in {f"extra/{SPEC_FILE}", SAVING}:
                    digest.update(f"{name}\0{len(data)}\0".encode() + data)
        return digest.hexdigest()

    def close(self) -> None:
        """Release the program and its weights."""
        super().close()
        self._module = None


def _inspect(torch: ModuleType, path: Path) -> str | None:
    """Check that the archive is complete and has no pickles and no libraries. Returns the text of the spec, or None."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2]: name for name in archive.namelist()}
            whole = archive.testzip() is None and len(names) == len(archive.namelist())
            texts = {name: archive.read(full) for name, full in names.items() if name.endswith((".json", ".pt"))}
            safe = not any(map(_holds_code, names)) and not any(map(_names_pickles, texts.items()))
            samples = [text for name, text in texts.items() if name.endswith(".pt") and text]
            for sample in samples if whole and safe else []:
                torch.load(io.BytesIO(sample), weights_only=True)  # else PyTorch would load an unsafe one with pickle
    except pickle.UnpicklingError:
        safe = False
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"{path} should be an exported program but is damaged ({error}); export it again"
        ) from error
    if not whole:
        raise ArtifactError(f"{path} should be an exported program but has a damaged archive; export it again")
    if not safe:
        raise ArtifactError(f"{path} should hold data only but holds pickled or compiled code; do not trust this file")
    spec = texts.get(f"extra/{SPEC_FILE}")
    return None if spec is None else spec.decode(errors="replace")


def _holds_code(name: str) -> bool:
    legacy = name.startswith(("data/weights/", "data/constants/")) and name.endswith(".pt")
    return legacy or name.startswith(("data/aotinductor/", "data/constants/custom_obj", "data/constants/opaque_obj"))


def _names_pickles(file: tuple[str, bytes]) -> bool:
    """Whether a table of payloads marks any entry as pickled. `file` is its name and its contents."""
    name, text = file
    flags: list[object] = []
    if name.endswith("_config.json"):
        json.loads(text, object_hook=lambda entry: flags.append(entry.get("use_pickle", False)))
    return any(flag is not False for flag in flags)


def _open(torch: ModuleType, path: Path) -> Any:
    mend = "use the version of torch it was exported with, or export it again"
    with failing(path, f"be a program that torch {torch.__version__} loads", mend, but="is not"), _quiet():
        return torch.export.load(path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's loggers from printing the traceback of an error that is raised anyway."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch._export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _place(torch: ModuleType, program: Any, device: str, path: Path) -> tuple[Any, Any]:
    """Move the program to the device. Returns the device and the program as a callable module."""
    try:
        place = torch.device(device)
        torch.zeros(1, device=place).cpu()
        if place.type != "cpu":
            program = importlib.import_module("torch.export.passes").move_to_device_pass(program, place)
        return place, program.module()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ArtifactError(
            f"{path} should run on a device that torch finds here but {device!r} was asked for ({reason}); "
            "try device='cpu'"
        ) from error


def _match(program: Any, spec: ImageSpec, path: Path) -> None:
    """Check the input and the output of the program against the spec; ArtifactError when they differ."""
    signature = program.graph_signature
    tensors = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = [_describe(name, tensors.get(name), spec) for name in signature.user_inputs]
    names = ["output" if name == spec.output_name else name for name in spec.outputs]
    outputs = [
        _describe(name, tensors.get(node), spec)
        for name, node in itertools.zip_longest(names, signature.user_outputs, fillvalue="output")
    ]
    wanted = [f"{spec.input_name} torch.{spec.dtype} {spec.layout}"]
    wanted += [f"{CONTROLS} torch.float32 N x 2"] * spec.controls
    wanted += [
        f"{name} torch.float32 {SIZES[name][0]}" if name in SIZES else f"{name} torch.{spec.dtype} {spec.layout}"
        for name in names
    ]
    if inputs + outputs != wanted:
        raise ArtifactError(
            f"{path} should have {' and '.join(wanted)}, as its spec says, "
            f"but has {', '.join(inputs)} and {', '.join(outputs)}; export it again"
        )


def _describe(name: object, tensor: Any, spec: ImageSpec) -> str:
    """Describe an input or output by name, type and layout, or by its sizes if they do not fit the layout."""
    dtype, shape = getattr(tensor, "dtype", None), list(getattr(tensor, "shape", []))
    if name in SIZES:
        sizes, axes, second = SIZES[str(name)]
        return f"{name} {dtype} {sizes if len(shape) == axes and shape[1] == second else shape}"
    channel = 1 if spec.layout == "NCHW" else 3
    fits = len(shape) == 4 and shape[channel] == 3
    return f"{name} {dtype} {spec.layout if fits else shape}"
