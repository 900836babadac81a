"""The wrapper of another network's ONNX file, which is measured under the same conditions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes import ArtifactError, ImageSpec, Runtime, ShapeSet
from runtimes.backends import import_backend, require_threads
from runtimes.spec import Shape


class PeerRuntime(Runtime):
    """An ONNX file without a spec, run by ONNX Runtime on the CPU; its one input is float32 N x 3 x H x W in [0, 1].

    The first output with the shape of the input is taken as the picture. The wrapper makes a spec from the name of the
    file, the hash of the file in place of the weights' hash, and the given shape.

    shape: N, H, W to run.
    threads: CPU threads of one operator; None lets ONNX Runtime choose.

    Errors: BackendMissingError. ArtifactError when the file does not load, has other inputs, or cannot take the shape.
    """

    def __init__(self, path: str | Path, *, shape: Sequence[int], threads: int | None = None) -> None:
        ort = import_backend(".onnx")
        ort.disable_telemetry_events()
        self.path = Path(path)
        self.name = f"onnxruntime {ort.__version__}"
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors only
        if threads is not None:
            options.intra_op_num_threads = require_threads(threads)
        n, h, w = shape
        errors = ort.capi.onnxruntime_pybind11_state
        self._failures = (errors.Fail, errors.InvalidArgument, errors.NotImplemented, errors.RuntimeException)
        broken = (*self._failures, errors.InvalidGraph, errors.InvalidProtobuf, errors.NoSuchFile)
        try:
            self._session = ort.InferenceSession(path, sess_options=options, providers=["CPUExecutionProvider"])
        except broken as error:
            raise ArtifactError(
                f"{path} should be an ONNX model but does not load ({' '.join(str(error).split())}); check the file"
            ) from error
        self.device = self._session.get_providers()[0]
        self._input = require_input(self._session.get_inputs(), (n, h, w), self.path)
        self.spec = ImageSpec(
            model=self.path.stem,
            width=0,
            io="float32",
            shapes=ShapeSet.of((n, h, w), multiple=1),
            multiple=1,
            minimum=1,
            precision="fp32",
            weights_sha256=hashlib.sha256(self.path.read_bytes()).hexdigest(),
            input_name=self._input,
        )

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        batch = inputs[self._input]
        try:
            results = self._session.run(None, dict(inputs))
        except self._failures as error:
            raise ArtifactError(
                f"{self.path} should run at {batch.shape} but does not ({' '.join(str(error).split())}); "
                "measure it at another shape"
            ) from error
        for result in results:
            if result.shape == batch.shape:
                return np.asarray(result, dtype=batch.dtype)
        raise ArtifactError(
            f"{self.path} should return a picture of shape {batch.shape} but returned "
            f"{', '.join(str(result.shape) for result in results)}; name a network from picture to picture"
        )

    def close(self) -> None:
        """Release the session and its memory."""
        super().close()
        self._session = None


def require_input(inputs: Sequence[Any], shape: Shape, path: Path) -> str:
    """Return the name of the one image input; ArtifactError if there are others or it cannot take the shape."""
    n, h, w = shape
    wanted = (n, 3, h, w)
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        came = ", ".join(f"{found.name} {found.type} {found.shape}" for found in inputs)
        raise ArtifactError(
            f"{path} should have one float input, N x 3 x H x W, but has {came or 'none'}; export it with such an input"
        )
    fixed = [size if isinstance(size, int) else None for size in inputs[0].shape]
    if any(size not in {None, asked} for size, asked in zip(fixed, wanted, strict=True)):
        raise ArtifactError(
            f"{path} should take {'x'.join(map(str, wanted))} but takes {inputs[0].shape}; "
            "measure it at its own shape, or export it with free axes"
        )
    return str(inputs[0].name)
