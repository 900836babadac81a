"""The Jetson bundle: ONNX files, golden pictures, the project's wheel, and scripts that install, build and test."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.bundles.application import SELF_TEST
from export.bundles.wheel import write_wheel
from export.exporters import EXPORTERS
from export.int8.scheme import TENSORRT
from export.parity import ParityError
from export.publishing import Artifact
from export.self_test import write_self_test
from runtimes import ShapeSet
from runtimes.errors import InputError
from runtimes.files import PARTIAL, new_folder, replacing
from runtimes.formats import FORMATS
from runtimes.golden import Golden, golden_path
from runtimes.image import Pixels

if TYPE_CHECKING:
    from bncagan.network.folded import FoldedGenerator

TEMPLATES = Path(__file__).parent / "jetson"
ARCHIVE = ".tar.gz"


@dataclasses.dataclass(frozen=True, kw_only=True)
class JetPack:
    """A version of JetPack."""

    python: str
    """Its Python, for which TensorRT has bindings there."""
    image: str
    """NVIDIA's container image with its CUDA and TensorRT."""


# From JetPack 7 on, boards run NVIDIA's images for Arm servers in place of l4t-jetpack. 25.08 has the CUDA of JetPack
# 7.0, 13.0, and TensorRT 10.13.
JETPACKS = {
    "6": JetPack(python="3.10", image="nvcr.io/nvidia/l4t-jetpack:r36.4.0"),
    "7": JetPack(python="3.12", image="nvcr.io/nvidia/tensorrt:25.08-py3"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """What a bundle is made of.

    Errors: InputError for an unknown JetPack, and for no precision.
    """

    name: str
    """Name of the model in file names."""
    shape: tuple[int, int, int]
    """N, H, W of the engine."""
    jetpack: str = "6"
    """A key of `JETPACKS`."""
    precisions: tuple[str, ...] = ("fp16", "int8")
    """Precisions of the model; one after the first is left out if it fails its parity check."""
    photos: Mapping[str, Pixels] | None = None
    """Photographs to check on, by name; None for scikit-image's."""
    calibration: Mapping[str, Pixels] | None = None
    """Photographs to calibrate int8 on, by name; None for scikit-image's."""

    def __post_init__(self) -> None:
        if self.jetpack not in JETPACKS:
            raise InputError(
                f"the JetPack should be {' or '.join(JETPACKS)} but is {self.jetpack}; look up that of your board"
            )
        if not self.precisions:
            raise InputError(
                "--precisions should name at least one precision but names none; leave it out for the usual"
            )


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A written bundle."""

    path: Path
    """The folder or the archive."""
    artifacts: tuple[Artifact, ...]
    """Its ONNX files, as if they lay in `path`."""
    left_out: Mapping[str, str]
    """Why a precision is missing, by precision."""

    def named(self, path: Path) -> Bundle:
        """The same bundle under its final name."""
        artifacts = (dataclasses.replace(artifact, path=path / artifact.path.name) for artifact in self.artifacts)
        return Bundle(path, tuple(artifacts), self.left_out)


def write_jetson_bundle(model: FoldedGenerator, path: Path, wish: Wish) -> Bundle:
    """Write the bundle of a model.

    path: a new or empty folder, or a new file that ends in .tar.gz; it appears when everything is written.

    Errors: InputError for another path; ParityError if the first precision fails; ArtifactError for a precision that
    these weights or ONNX do not have.
    """
    for precision in wish.precisions:
        FORMATS["onnx"].require(precision=precision, io="float32", shapes=ShapeSet.of(wish.shape))
    if not path.name.endswith(ARCHIVE):
        with new_folder(path) as folder:
            return _fill(folder, model, wish).named(path)
    if path.exists():
        raise InputError(f"{path} should be a new file but exists; delete it, or choose another")
    if not path.parent.is_dir():
        raise InputError(f"{path} should be in an existing folder but {path.parent} is none; create it first")
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=path.parent) as temporary:
        folder = Path(temporary) / path.name.removesuffix(ARCHIVE)
        folder.mkdir()
        bundle = _fill(folder, model, wish)
        with replacing(path, overwrite=False) as partial, tarfile.open(partial, "w:gz") as archive:
            archive.add(folder, folder.name, filter=_nobodys)
        return bundle.named(path)


def _fill(folder: Path, model: FoldedGenerator, wish: Wish) -> Bundle:
    """Write all files into a folder."""
    artifacts: list[Artifact] = []
    left_out: dict[str, str] = {}
    for precision in wish.precisions:
        onnx = folder / f"{wish.name}-{precision}.onnx"
        options: dict[str, Any] = {"precision": precision, "shapes": ShapeSet.of(wish.shape), "photos": wish.photos}
        if precision == "int8":
            options |= {"calibration": wish.calibration, "scheme": TENSORRT}
        try:
            artifact = EXPORTERS["onnx"](model, onnx, **options)
        except ParityError as error:
            if not artifacts:
                raise
            left_out[precision] = error.report.verdict.failures[0]
            onnx.with_name(f"{onnx.name}.rejected").unlink()
            continue
        write_self_test(onnx.with_suffix(SELF_TEST), artifact, Golden.load(golden_path(onnx)))
        artifacts.append(artifact)
    write_wheel(folder)
    write_scripts(folder, wish, [artifact.spec.precision for artifact in artifacts])
    return Bundle(folder, tuple(artifacts), left_out)


def write_scripts(folder: Path, wish: Wish, precisions: Sequence[str]) -> None:
    """Copy the templates; those that are no scripts get their @WORDS@ filled in, and the scripts read bundle.env."""
    board = JETPACKS[wish.jetpack]
    batch, height, width = wish.shape
    words = {
        "MODEL": wish.name,
        "PRECISIONS": " ".join(precisions),
        "PRECISION": precisions[0],
        "JETPACK": wish.jetpack,
        "PYTHON_VERSION": board.python,
        "IMAGE": board.image,
        "BATCH": str(batch),
        "HEIGHT": str(height),
        "WIDTH": str(width),
    }
    for template in sorted(TEMPLATES.iterdir()):
        if template.name.startswith("constraints-"):
            continue
        target = folder / template.name.replace("MODEL", wish.name)
        if template.suffix == ".sh":
            shutil.copyfile(template, target)
            target.chmod(0o755)
        else:
            text = template.read_text(encoding="utf-8")
            for word, value in words.items():
                text = text.replace(f"@{word}@", value)
            target.write_text(text, encoding="utf-8")
    shutil.copyfile(TEMPLATES / f"constraints-jetpack{wish.jetpack}.txt", folder / "constraints.txt")
    settings = "".join(f"{word}={shlex.quote(value)}\n" for word, value in words.items())
    (folder / "bundle.env").write_text(settings, encoding="utf-8")


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The entry without the name of the user who made the bundle."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry
