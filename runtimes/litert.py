"""The wrapper of LiteRT artifacts: .tflite files with the spec in a ZIP archive at their end, as TFLite metadata is."""

from __future__ import annotations

import hashlib
import importlib
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.backends import import_backend, read_spec, require_threads
from runtimes.base import Runtime
from runtimes.errors import ArtifactError
from runtimes.installation import version_of
from runtimes.spec import CONTROLS, ImageSpec

SPEC_FILE = "bncagan.json"  # the only file of the archive
MARK, MARK_AT = b"TFL3", 4  # every .tflite file has this identifier at this byte
SUBGRAPHS = 2  # number of this field of the table Model in TFLite's schema


class LiteRtRuntime(Runtime):
    """A LiteRT model, executed on the CPU.

    LiteRT checks the structure of a model but not its meaning, and some damaged ones end the process. So a sealed model
    that was changed is refused before LiteRT sees it; open others only if you trust them.

    threads: CPU threads of one operator; None lets LiteRT choose (1).

    Threads: one thread at a time.

    Errors: BackendMissingError. ArtifactError when the file is damaged, has no spec or does not match it, or when
    `threads` is below 1.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        import_backend(".tflite")
        self.path = path
        self.name = f"ai-edge-litert {version_of('ai-edge-litert')}"
        model, spec = split(path)
        self.spec = read_spec(spec, path)
        _require_unchanged(model, self.spec, path)
        self._interpreter = _open(model, None if threads is None else require_threads(threads), path)
        self._runner = _match(self._interpreter, self.spec, path)
        self.device = "CPU"

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        results = self._runner(**inputs)  # copies
        return {name: np.asarray(results[name]) for name in self.spec.outputs}

    def content_sha256(self) -> str:
        """Return the SHA-256 of the file without the archive at its end."""
        return _digest(split(self.path)[0])

    def close(self) -> None:
        """Release the interpreter and its memory."""
        super().close()
        self._interpreter = self._runner = None


def join(model: bytes, spec: str, path: Path) -> None:
    """Write a model with its spec. LiteRT does not read what follows a model."""
    path.write_bytes(model)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(SPEC_FILE), spec)  # without the time, so that equal exports are equal files


def split(path: Path) -> tuple[bytes, str | None]:
    """Return the model and the text of its spec; None if no archive follows the model.

    Errors: ArtifactError when the file does not begin like a model or when its archive is not as `join` writes it.
    """
    data = path.read_bytes()
    if data[MARK_AT : MARK_AT + len(MARK)] != MARK:
        raise ArtifactError(f"{path} should be a LiteRT model but does not begin like one; export it again")
    try:
        if not zipfile.is_zipfile(path):
            return data, None
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if [entry.filename for entry in entries] != [SPEC_FILE]:
                raise ArtifactError(
                    f"{path} should hold {SPEC_FILE} alone in the archive at its end but holds "
                    f"{', '.join(entry.filename for entry in entries) or 'nothing'}; export it again"
                )
            return data[: entries[0].header_offset], archive.read(SPEC_FILE).decode(errors="replace")
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtifactError(
            f"{path} should end in an archive with {SPEC_FILE} but it is damaged ({error}); export it again"
        ) from error


def _digest(model: bytes) -> str:
    return hashlib.sha256(model).hexdigest()


def _require_unchanged(model: bytes, spec: ImageSpec, path: Path) -> None:
    if spec.seal is not None and _digest(model) != spec.seal.content_sha256:
        raise ArtifactError(
            f"{path} should be as it was sealed but its graph or weights were changed; copy or export it again"
        )


def _has_graph(model: bytes) -> bool:
    """Whether the model's table has the field `subgraphs`. LiteRT 2.1 ends the process if it has not.

    https://flatbuffers.dev/internals: a table begins with the distance back to the list of its fields' places.

    Errors: struct.error when the places are outside of the model.
    """
    (table,) = struct.unpack_from("<I", model)
    fields = table - struct.unpack_from("<i", model, table)[0]
    (size,) = struct.unpack_from("<H", model, fields)  # bytes of the list, with two sizes before the places
    place = 4 + 2 * SUBGRAPHS
    return bool(size > place and struct.unpack_from("<H", model, fields + place)[0])


def _open(model: bytes, threads: int | None, path: Path) -> Any:
    try:
        if not _has_graph(model):
            raise ValueError("it has no graph")
        interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter(
            model_content=model, num_threads=threads
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, struct.error) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"{path} should be a LiteRT model but does not load ({reason}); export it again") from error
    return interpreter


def _match(interpreter: Any, spec: ImageSpec, path: Path) -> Any:
    """Return the graph as a callable of named inputs, or raise ArtifactError if its ends are not those of the spec."""
    n, h, w = spec.shapes.fixed[0] if spec.shapes.fixed else (0, 0, 0)
    picture = [n, 3, h, w] if spec.layout == "NCHW" else [n, h, w, 3]
    wanted = {spec.input_name: (spec.dtype, picture)}
    if spec.controls:
        wanted[CONTROLS] = ("float32", [n, 2])
    returned = {name: (spec.output_dtype(name), list(shape)) for name, shape in spec.output_shapes(n, h, w).items()}
    inputs, outputs = _named(wanted), _named(returned)
    runner = interpreter.get_signature_runner() if len(interpreter.get_signature_list()) == 1 else None
    found = ([], []) if runner is None else (_ends(runner.get_input_details()), _ends(runner.get_output_details()))
    if found != (inputs, outputs):
        raise ArtifactError(
            f"{path} should have {', '.join(inputs)} and {', '.join(outputs)}, as its spec says, "
            f"but has {', '.join(found[0]) or 'no input'} and {', '.join(found[1]) or 'no output'}; export it again"
        )
    return runner


def _ends(details: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return _named({name: (np.dtype(end["dtype"]).name, end["shape"].tolist()) for name, end in details.items()})


def _named(ends: Mapping[str, tuple[str, list[int]]]) -> list[str]:
    """Describe inputs or outputs by name, type and shape, sorted by name."""
    return [f"{name} {kind} {'x'.join(map(str, shape))}" for name, (kind, shape) in sorted(ends.items())]
