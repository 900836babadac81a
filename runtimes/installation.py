"""Which libraries are here, and the command that installs those that are not."""

from __future__ import annotations

import importlib.util
import json
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

# Which extra of this package installs a library.
EXTRAS = {
    "torch": "train",
    "onnx": "train",
    "onnxscript": "train",
    "matplotlib": "train",
    "lightning_fabric": "train",
    "safetensors": "train",
    "scipy": "train",
    "skimage": "train",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "coremltools": "coreml",
    "tensorrt": "tensorrt",
    "cuda": "tensorrt",
}
# cuda-python brings a CUDA runtime of its own, which must not be newer than the driver: ~=12.6 would take 12.9.
JETSON_CUDA = (
    'on a Jetson: pip install "cuda-python==12.6.*" (JetPack 6) or pip install "cuda-python==13.0.*" (JetPack 7)'
)
PROJECT = Path(__file__).resolve().parents[1]


def install_hint(extra: str) -> str:
    """The command that adds an extra to this installation: `pip install -e ".[onnx]"` in a clone, else from where the
    package came.
    """
    if (PROJECT / "pyproject.toml").is_file():
        place = "." if Path.cwd() == PROJECT else str(PROJECT)
        return f'pip install -e "{place}[{extra}]"'
    try:
        record = distribution("bncagan").read_text("direct_url.json")
    except PackageNotFoundError:  # these folders were copied here without the project
        return f'pip install -e ".[{extra}]", in the folder of the whole project'
    return f'pip install "{_requirement(extra, record)}"'


def _requirement(extra: str, record: str | None) -> str:
    """What to ask pip for: the wheel, folder or repository that was installed, or the name where an index knows it."""
    if record is None:
        return f"bncagan[{extra}]"
    origin = json.loads(record)
    url = str(origin["url"])
    if url.startswith("file:"):
        return f"{url2pathname(urlsplit(url).path)}[{extra}]"
    control = origin.get("vcs_info")
    return f"bncagan[{extra}] @ {control['vcs']}+{url}" if control else f"bncagan[{extra}] @ {url}"


def installed(library: str) -> bool:
    """Whether a library can be found; it is not imported."""
    try:
        return importlib.util.find_spec(library) is not None
    except (ImportError, ValueError):  # something stands in its place that is no module
        return False


def absent(libraries: tuple[str, ...]) -> str | None:
    """How to install the first of the libraries that is not here; None if all are."""
    missing = next((library for library in libraries if not installed(library)), None)
    return None if missing is None else f"needs {missing}: {install_hint(EXTRAS[missing])}"


def two_onnxruntimes() -> str | None:
    """What to do where onnxruntime and onnxruntime-gpu are both installed; None where they are not.

    They are one folder on disk: the one installed last overwrites the other, and CUDA may be gone
    (https://github.com/microsoft/onnxruntime/issues/26996).
    """
    if version_of("onnxruntime") is None or version_of("onnxruntime-gpu") is None:
        return None
    return (
        "onnxruntime and onnxruntime-gpu overwrite each other's files and both are installed; keep one: "
        "pip uninstall --yes onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu (or onnxruntime)"
    )


def version_of(name: str) -> str | None:
    """The version of an installed distribution; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
