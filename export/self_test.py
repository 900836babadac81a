"""The self-test folder: golden pictures and limits in files that every language reads without a library.

docs/self-test.md describes the files and how a program on a device uses them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any

from export.parity import batches
from runtimes import Runtime
from runtimes.errors import ArtifactError, InputError
from runtimes.files import PARTIAL, write_json
from runtimes.golden import Case, Golden
from runtimes.image import Pixels, encode_png
from runtimes.likeness import THRESHOLDS
from runtimes.schema import Version

FORMAT_VERSION = Version(1, 0)  # of the folder
INDEX = "selftest.json"


def require_new(folder: Path) -> None:
    """Refuse a folder that cannot be made or that holds files; InputError names it."""
    if not folder.parent.is_dir():
        raise InputError(f"{folder} should be in an existing folder but {folder.parent} is none; create it first")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} should be a new or empty folder but is not; delete it, or choose another")


def write_self_test(folder: Path, runtime: Runtime, golden: Golden) -> None:
    """Write the self-test folder of an opened artifact: pictures, limits, and the batches of the parity check.

    folder: a new or empty folder; it gets its name when all files are written.

    Errors: InputError for another folder; ArtifactError for an artifact of format version 1.0, whose pictures of one
    colour follow a rule that the folder does not have, or if the cases do not fit the artifact's shapes.
    """
    require_new(folder)
    if runtime.spec.format_version < (1, 1):
        raise ArtifactError(
            f"{runtime.path} should be of format version 1.1 or newer to have a self-test but is of "
            f"{runtime.spec.format_version}; export it again"
        )
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=folder.parent) as temporary:
        made = Path(temporary) / "folder"
        made.mkdir()
        cases = [_write_case(made, f"{number:03d}-{_slug(case)}", case) for number, case in enumerate(golden.cases)]
        write_json(made / INDEX, _index(runtime, golden, cases))
        if folder.exists():
            folder.rmdir()
        made.rename(folder)


def _index(runtime: Runtime, golden: Golden, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """The contents of selftest.json."""
    spec = runtime.spec
    numbers = {(case.name, case.size): number for number, case in enumerate(golden.cases)}
    return {
        "format_version": str(FORMAT_VERSION),
        "artifact": runtime.path.name,
        "model": spec.model,
        "weights_sha256": spec.weights_sha256,
        "precision": spec.precision,
        "io": spec.io,
        "layout": spec.layout,
        "input_name": spec.input_name,
        "output_name": spec.output_name,
        "controls": spec.controls,
        "shapes": spec.shapes.to_dict(),
        "thresholds": dataclasses.asdict(THRESHOLDS[spec.precision]),
        "cases": cases,
        "batches": [[numbers[case.name, case.size] for case in batch] for batch in batches(runtime, golden)],
    }


def _slug(case: Case) -> str:
    """The case's name in lower-case ASCII letters, digits and hyphens, and its size."""
    height, width = case.size
    words = re.findall(r"[a-z0-9]+", case.name.lower())
    return "-".join([*words, f"{height}x{width}"])[-80:]


def _write_case(folder: Path, name: str, case: Case) -> dict[str, Any]:
    """Write both pictures of a case and return its entry in selftest.json."""
    height, width = case.size
    entry: dict[str, Any] = {"name": case.name, "height": height, "width": width} | dataclasses.asdict(case.controls)
    for kind, picture in (("input", case.image), ("expected", case.expected)):
        entry[kind] = _write_picture(folder, f"{name}.{kind}", picture)
    return entry


def _write_picture(folder: Path, stem: str, picture: Pixels) -> dict[str, str]:
    """Write a picture as PNG and as its bare bytes, row by row; return the names and the hash of the bytes."""
    rgb = picture.tobytes()
    (folder / f"{stem}.png").write_bytes(encode_png(picture))
    (folder / f"{stem}.rgb").write_bytes(rgb)
    return {"png": f"{stem}.png", "rgb": f"{stem}.rgb", "sha256": hashlib.sha256(rgb).hexdigest()}
