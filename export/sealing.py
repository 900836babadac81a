"""Seal an artifact that was checked, and find what was changed in it later; needs no torch."""

from __future__ import annotations

import dataclasses
import json

from runtimes import ImageSpec, Runtime
from runtimes.errors import ArtifactError
from runtimes.golden import Golden, extreme_images
from runtimes.likeness import Thresholds
from runtimes.seal import Seal


class SealError(ArtifactError):
    """An artifact is not sealed, or was changed since it was."""

    exit_code = 1


def sealed(spec: ImageSpec, content_sha256: str, golden: Golden, limits: Thresholds) -> ImageSpec:
    """Return the spec, which holds the verdict already, with a seal.

    content_sha256: `Runtime.content_sha256` of the artifact.
    golden, limits: what the verdict was given on.
    """
    fields = json.loads(dataclasses.replace(spec, seal=None).to_json())
    return dataclasses.replace(spec, seal=Seal.of(fields, content_sha256, golden, limits))


def require_sealed(runtime: Runtime, golden: Golden, *, unsealed: bool = False) -> None:
    """Check that an opened artifact and its golden pictures are as they were sealed.

    Spec and verdict were checked when the artifact was opened.

    unsealed: whether an artifact may have no seal.

    Errors: SealError that names what was changed, or says that there is no seal, or that golden pictures are missing
    which every artifact is checked on.
    """
    seal = runtime.spec.seal
    if seal is None and unsealed:
        return
    if seal is None:
        raise SealError(
            f"{runtime.path} should be sealed but is not sealed, so a change of it would go unnoticed; "
            "export it again, or check its pictures alone with --unsealed"
        )
    found = {
        "its graph or weights": runtime.content_sha256() != seal.content_sha256,
        "its golden pictures": golden.sha256() != seal.golden_sha256,
    }
    changed = [part for part, differs in found.items() if differs]
    if changed:
        raise SealError(
            f"{runtime.path} should be as it was sealed but {' and '.join(changed)} were changed; "
            "copy it and its golden pictures again, or export it again"
        )
    missing = extreme_images(8, 8).keys() - {case.name for case in golden.cases}
    if missing:
        raise SealError(
            f"{runtime.path} should have the golden pictures that every artifact is checked on but lacks "
            f"{', '.join(sorted(missing))}; export it again"
        )
