"""doctor --deep: does this machine compute what it should?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes import Runtime
from runtimes.backends import load
from runtimes.errors import UserError
from runtimes.formats import FORMATS
from runtimes.golden import Golden, golden_path
from runtimes.installation import installed
from runtimes.packaged import locate, packaged_names

SIDE = 300  # of the matrices, whose products stay below 2**24 and so are exact in float32
NO_DEVICES = {"AzureExecutionProvider"}  # providers that compute elsewhere


@dataclass(frozen=True)
class Diagnosis:
    """What was computed, and how it came out."""

    what: str
    """The computation and the library."""
    passed: bool
    """Whether it is right."""
    why: str
    """Numbers, or what is wrong."""


def diagnose() -> list[Diagnosis]:
    """Compute sums whose results are known exactly, and the golden pictures of every packaged model."""
    found = [_exact("NumPy", lambda a, b: a @ b)]
    if installed("torch"):
        found += [_exact("PyTorch", _torch_product), _exact("PyTorch, convolution", _torch_convolution)]
    for model, library, opened in _runtimes():
        what = f"{model} in {library}"
        try:
            with opened() as runtime:
                passed, why = _golden(model, runtime)
        except UserError as error:
            passed, why = False, str(error)
        found.append(Diagnosis(what, passed, why))
    return found


def _exact(name: str, product: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]) -> Diagnosis:
    """Multiply matrices of small whole numbers, in floats by the library and in integers without BLAS."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-8, 9, (SIDE, SIDE)) for _ in range(2))
    wrong = 0
    for dtype in (np.float32, np.float64):
        made = product(a.astype(dtype), b.astype(dtype))
        wrong += int((made != np.einsum("ij,jk->ik", a, b)).sum())
    why = f"{wrong} of {2 * SIDE**2} numbers are wrong; install the library again" if wrong else "exact"
    return Diagnosis(f"matrix product, {name}", wrong == 0, why)


def _torch_product(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    import torch

    made: NDArray[Any] = (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()
    return made


def _torch_convolution(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """The product as a 1x1 convolution: channels are what is summed over."""
    import torch
    from torch.nn import functional as F

    pixels, weights = torch.from_numpy(a.T.copy())[None, :, :, None], torch.from_numpy(b.T.copy())[:, :, None, None]
    made: NDArray[Any] = F.conv2d(pixels, weights)[0, :, :, 0].T.numpy()
    return made


def _golden(model: str, runtime: Runtime) -> tuple[bool, str]:
    """Whether a runtime draws the golden pictures of a packaged model, and numbers."""
    from export.parity import check

    golden = Golden.load(golden_path(locate(model)))
    if runtime.spec.output == "picture":  # PyTorch; the packaged models return maps as well
        golden = replace(golden, cases=tuple(case for case in golden.cases if case.photograph is None))
    verdict = check(runtime, golden).verdict
    psnr = "" if verdict.psnr_min is None else f", at least {verdict.psnr_min:.1f} dB"
    why = "; ".join(verdict.failures[:1]) or f"{verdict.cases} pictures, at most {verdict.max_code} codes off{psnr}"
    return verdict.passed, f"{why}, on {runtime.device}"


def _runtimes() -> Iterator[tuple[str, str, Callable[[], Runtime]]]:
    """Model, library and opener of every packaged model in every backend that is here."""
    for model in packaged_names():
        if FORMATS["onnx"].missing() is None:
            import onnxruntime

            for provider in onnxruntime.get_available_providers():
                if provider not in NO_DEVICES:
                    yield model, f"ONNX Runtime, {provider}", partial(load, model, providers=[provider])
            if FORMATS["openvino"].missing() is None:
                yield model, "OpenVINO", partial(_in_openvino, model)
        if installed("torch"):
            yield model, "PyTorch", partial(_in_torch, model)


def _in_openvino(model: str) -> Runtime:
    """Open a packaged ONNX file in OpenVINO, which takes it as an IR with the same spec."""
    from runtimes.ov import OpenVinoRuntime, import_openvino, save

    with load(model) as runtime, tempfile.TemporaryDirectory() as folder:
        spec = replace(runtime.spec, seal=None)
        path = Path(folder) / f"{model}.xml"
        save(import_openvino().Core().read_model(runtime.path), path, spec)
        return OpenVinoRuntime(path)


def _in_torch(model: str) -> Runtime:
    from export.eager import EagerRuntime

    return EagerRuntime(model)
