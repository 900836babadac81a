"""Run a .pt2 artifact, an exported program, with PyTorch."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.backends import import_backend, read_spec, require_threads
from runtimes.base import Runtime
from runtimes.errors import ArtifactError
from runtimes.spec import ImageSpec

SPEC_FILE = "bncagan.json"  # the extra file of torch.export.save that holds the spec
_CODE = ("data/aotinductor/", "data/constants/custom_obj", "data/constants/opaque_obj")


class ExportedProgramRuntime(Runtime):
    """A program written by `torch.export.save` with the spec as an extra file.

    threads: CPU threads of one operator, for the whole process, as PyTorch has it; None leaves them as they are.
    device: in PyTorch's words, e.g. "cpu" or "cuda:0".

    A program is Python code to PyTorch: open only files that you trust. Pickled objects and compiled libraries, which a
    program of ours never holds, are refused before PyTorch sees the file.

    Threads: one thread at a time.

    Errors: BackendMissingError; ArtifactError for a damaged file, a file without or unlike its spec, a device that is
    unknown or absent, or a number of threads below 1.
    """

    def __init__(self, path: Path, *, threads: int | None = None, device: str = "cpu") -> None:
        torch = import_backend(".pt2")
        self.path = path
        self.name = f"torch {torch.__version__}"
        if threads is not None:
            torch.set_num_threads(require_threads(threads))
        self.spec = read_spec(_inspect(path), path)
        program = _open(torch, path)
        _match(program, self.spec, path)
        self._torch = torch
        self._device, self._module = _place(torch, program, device, path)
        self.device = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else str(self._device)

    def _run(self, batch: NDArray[Any]) -> NDArray[Any]:
        with self._torch.inference_mode():
            result = self._module(self._torch.tensor(batch, device=self._device))
        return np.array(result.cpu())

    def close(self) -> None:
        """Release the weights."""
        super().close()
        self._module = None


def _inspect(path: Path) -> str | None:
    """Check the archive without PyTorch: whole, and free of pickles and libraries. Returns the spec's text, if any."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2]: name for name in archive.namelist()}
            damaged = archive.testzip()
            spec = archive.read(names[f"extra/{SPEC_FILE}"]).decode() if f"extra/{SPEC_FILE}" in names else None
            code = [name for name in names if name.startswith(_CODE) or _is_legacy_pickle(name)]
            configs = [json.loads(archive.read(full)) for name, full in names.items() if name.endswith("_config.json")]
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"{path} should be an exported program but is damaged ({error}); export it again"
        ) from error
    if damaged is not None:
        raise ArtifactError(f"{path} should be an exported program but {damaged} in it is damaged; export it again")
    if code or any('"use_pickle": true' in json.dumps(config) for config in configs):
        raise ArtifactError(f"{path} should hold data only but holds pickled or compiled code; do not trust this file")
    return spec


def _is_legacy_pickle(name: str) -> bool:
    return name.startswith(("data/weights/", "data/constants/")) and name.endswith(".pt")


def _open(torch: ModuleType, path: Path) -> Any:
    try:
        return torch.export.load(path)
    except (RuntimeError, ValueError, KeyError, AssertionError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(
            f"{path} should be an exported program but torch {torch.__version__} does not load it ({reason}); "
            "use the torch it was exported with, or export it again"
        ) from error


def _place(torch: ModuleType, program: Any, device: str, path: Path) -> tuple[Any, Any]:
    """The device, and the program on it as a callable module."""
    try:
        place = torch.device(device)
        if place.type != "cpu":
            program = torch.export.passes.move_to_device_pass(program, place)
        return place, program.module()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ArtifactError(
            f"{path} should run on a device that torch has here but {device!r} is none ({reason}); try device='cpu'"
        ) from error


def _match(program: Any, spec: ImageSpec, path: Path) -> None:
    """Refuse a program whose input or output is not what the spec says it is."""
    signature = program.graph_signature
    tensors = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = [_describe(name, tensors.get(name), spec) for name in signature.user_inputs]
    outputs = [_describe("output", tensors.get(name), spec) for name in signature.user_outputs]
    wanted = [f"{name} torch.{spec.dtype} {spec.layout}" for name in (spec.input_name, "output")]
    if inputs + outputs != wanted:
        raise ArtifactError(
            f"{path} should have {' and '.join(wanted)}, as its spec says, "
            f"but has {', '.join(inputs)} and {', '.join(outputs)}; export it again"
        )


def _describe(name: object, tensor: Any, spec: ImageSpec) -> str:
    """Name, type and layout of one end of the graph; the sizes where they do not fit the layout."""
    dtype, shape = getattr(tensor, "dtype", None), list(getattr(tensor, "shape", []))
    channel = 1 if spec.layout == "NCHW" else 3
    fits = len(shape) == 4 and shape[channel] == 3
    return f"{name} {dtype} {spec.layout if fits else shape}"
