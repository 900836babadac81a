"""The self-test folder: golden pictures and limits in files that every language reads without a library.

docs/self-test.md describes the files and how a program on a device uses them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.parity import Described, batches
from runtimes.errors import ArtifactError
from runtimes.files import new_folder, write_json
from runtimes.golden import Case, Golden
from runtimes.image import Pixels, encode_png
from runtimes.likeness import THRESHOLDS
from runtimes.schema import Version

FORMAT_VERSION = Version(1, 1)  # of the folder
INDEX = "selftest.json"
KINDS = ("png", "rgb")  # of files that hold a picture


def write_self_test(folder: Path, artifact: Described, golden: Golden, kinds: Sequence[str] = KINDS) -> None:
    """Write the self-test folder of an artifact: pictures, limits, and the batches of the parity check.

    folder: a new or empty folder; it gets its name when all files are written.
    kinds: the files to write of each picture; selftest.json names both kinds.

    Errors: InputError for another folder; ArtifactError for an artifact of format version 1.0, whose pictures of one
    colour follow a rule that the folder does not have, or if the cases do not fit the artifact's shapes.
    """
    if artifact.spec.format_version < (1, 1):
        raise ArtifactError(
            f"{artifact.path} should be of format version 1.1 or newer to have a self-test but is of "
            f"{artifact.spec.format_version}; export it again"
        )
    with new_folder(folder) as made:
        cases = [
            _write_case(made, f"{number:03d}-{_slug(case)}", case, kinds) for number, case in enumerate(golden.cases)
        ]
        write_json(made / INDEX, _index(artifact, golden, cases))


def _index(artifact: Described, golden: Golden, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """The contents of selftest.json."""
    spec = artifact.spec
    numbers = {(case.name, case.size): number for number, case in enumerate(golden.cases)}
    return {
        "format_version": str(FORMAT_VERSION),
        "artifact": artifact.path.name,
        "model": spec.model,
        "weights_sha256": spec.weights_sha256,
        "precision": spec.precision,
        "io": spec.io,
        "layout": spec.layout,
        "input_name": spec.input_name,
        "output_name": spec.output_name,
        "output": spec.output,
        "window": spec.window,
        "controls": spec.controls,
        "shapes": spec.shapes.to_dict(),
        "thresholds": dataclasses.asdict(THRESHOLDS[spec.precision]),
        "cases": cases,
        "batches": [[numbers[case.name, case.size] for case in batch] for batch in batches(artifact, golden)],
    }


def _slug(case: Case) -> str:
    """The case's name in lower-case ASCII letters, digits and hyphens, and its size."""
    height, width = case.size
    words = re.findall(r"[a-z0-9]+", case.name.lower())
    return "-".join([*words, f"{height}x{width}"])[-80:]


def _write_case(folder: Path, name: str, case: Case, kinds: Sequence[str]) -> dict[str, Any]:
    """Write the pictures of a case and return its entry in selftest.json."""
    height, width = case.size
    entry: dict[str, Any] = {"name": case.name, "height": height, "width": width} | dataclasses.asdict(case.controls)
    for end, picture in (("input", case.image), ("expected", case.expected), ("photograph", case.photograph)):
        if picture is not None:
            entry[end] = _write_picture(folder, f"{name}.{end}", picture, kinds)
    if case.photograph is not None:
        entry["photograph"] |= dict(zip(("height", "width"), case.photograph.shape[:2], strict=True))
    return entry


def _write_picture(folder: Path, stem: str, picture: Pixels, kinds: Sequence[str]) -> dict[str, Any]:
    """Write a picture as PNG, as its bare bytes, row by row, or both; return the names and the hash of the bytes."""
    rgb = picture.tobytes()
    if "png" in kinds:
        (folder / f"{stem}.png").write_bytes(encode_png(picture))
    if "rgb" in kinds:
        (folder / f"{stem}.rgb").write_bytes(rgb)
    return {"png": f"{stem}.png", "rgb": f"{stem}.rgb", "sha256": hashlib.sha256(rgb).hexdigest()}
