"""Which libraries are installed, and the commands that install the others."""

from __future__ import annotations

import importlib.util
import json
import re
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

# The extra of this package that installs each library.
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
    "ai_edge_litert": "litert",
    "tensorrt": "tensorrt",
    "cuda": "tensorrt",
    "pillow_heif": "heif",
    "rawpy": "raw",
    "av": "video",
    "cv2": "camera",
    "numba": "fast",
}
# cuda-python contains a CUDA runtime, which must not be newer than the driver; ~=12.6 would install 12.9.
# NVlabs/FoundationStereo#209
JETSON_CUDA = (
    'on a Jetson: pip install "cuda-python==12.6.*" (JetPack 6) or pip install "cuda-python==13.0.*" (JetPack 7)'
)
PROJECT = Path(__file__).resolve().parents[1]


def install_hint(extra: str) -> str:
    """Return the pip command that adds an extra to this installation.

    In a clone it is `pip install -e ".[onnx]"`. Otherwise it names the source that the package was installed from.
    """
    if (PROJECT / "pyproject.toml").is_file():
        place = "." if Path.cwd() == PROJECT else str(PROJECT)
        return f'pip install -e "{place}[{extra}]"'
    try:
        record = distribution("bncagan").read_text("direct_url.json")
    except PackageNotFoundError:  # the packages were copied without being installed
        return f'pip install -e ".[{extra}]", in the folder of the whole project'
    return f'pip install "{_requirement(extra, record)}"'


def _requirement(extra: str, record: str | None) -> str:
    """Return pip's requirement: the wheel, folder or repository that was installed, or a name from an index.

    record: contents of direct_url.json (PEP 610); None for a package from an index.
    """
    if record is None:
        return f"bncagan[{extra}]"
    origin = json.loads(record)
    url = str(origin["url"])
    if url.startswith("file:"):
        return f"{url2pathname(urlsplit(url).path)}[{extra}]"
    control = origin.get("vcs_info")
    if control is None:
        return f"bncagan[{extra}] @ {url}"
    revision = control.get("requested_revision") or control["commit_id"]
    return f"bncagan[{extra}] @ {control['vcs']}+{url}@{revision}"


def installed(library: str) -> bool:
    """Whether a library can be found. It is not imported."""
    try:
        return importlib.util.find_spec(library) is not None
    except (ImportError, ValueError):  # sys.modules holds None or something else that is no module
        return False


def absent(libraries: tuple[str, ...]) -> str | None:
    """Name the first library that is missing and the command that installs it; None if all are installed."""
    missing = next((library for library in libraries if not installed(library)), None)
    if missing is None:
        return None
    jetpack = "; on a Jetson it comes with JetPack" if missing == "tensorrt" else ""
    return f"needs {missing}: {install_hint(EXTRAS[missing])}{jetpack}"


def two_onnxruntimes() -> str | None:
    """Return a warning if both onnxruntime and onnxruntime-gpu are installed, else None."""
    # Both write into one folder, so the later one overwrites the other and CUDA may be lost:
    # microsoft/onnxruntime#26996
    if version_of("onnxruntime") is None or version_of("onnxruntime-gpu") is None:
        return None
    return (
        "onnxruntime and onnxruntime-gpu should not be installed together, since they overwrite each other's files, "
        "but both are; keep one: "
        "pip uninstall --yes onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu (or onnxruntime)"
    )


def too_old() -> list[str]:
    """One sentence for each installed library that is older than this package asks for."""
    try:
        needed = requires("bncagan") or []
    except PackageNotFoundError:  # the packages were copied without being installed
        return []
    found: dict[str, str] = {}
    for requirement in needed:
        match = re.match(r"([\w.-]+)>=([\d.]+)", requirement)
        have = version_of(match[1]) if match else None
        if match and have is not None and _numbers(have) < _numbers(match[2]):
            found[match[1]] = (
                f"{match[1]} should be {match[2]} or newer but is {have}; "
                f'upgrade it with: pip install "{match[1]}>={match[2]}"'
            )
    return list(found.values())


def _numbers(release: str) -> tuple[int, ...]:
    """The numbers that a version begins with, without zeros at the end: 2.13.0+cpu is (2, 13)."""
    match = re.match(r"\d+(\.\d+)*", release)
    numbers = list(map(int, match[0].split("."))) if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def version_of(name: str) -> str | None:
    """Return the version of a distribution, or None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
