"""The seal of an artifact: digests by which a later change of any part of it is noticed. It is not a signature."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from runtimes.golden import Golden
from runtimes.likeness import Thresholds

VERDICT, SEAL, OWN = "parity", "seal", "seal_sha256"  # fields of the spec's JSON, and of the seal's


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seal:
    """What an artifact was when it passed its parity check. All digests are SHA-256, in hexadecimal digits."""

    content_sha256: str
    """Digest of graph and weights, which `Runtime.content_sha256` computes again."""
    spec_sha256: str
    """Digest of the spec without its verdict and its seal."""
    verdict_sha256: str
    """Digest of the verdict."""
    golden_sha256: str
    """Digest of the golden pictures, which `Golden.sha256` computes again."""
    cases: tuple[str, ...]
    """Names of the golden pictures."""
    limits: Thresholds
    """Limits that the verdict was given by."""
    seal_sha256: str
    """Digest of the fields above."""

    @classmethod
    def of(cls, fields: Mapping[str, Any], content_sha256: str, golden: Golden, limits: Thresholds) -> Seal:
        """Make the seal of a spec, given as parsed JSON that has its verdict and no seal."""
        parts = {
            "content_sha256": content_sha256,
            "spec_sha256": _spec_sha256(fields),
            "verdict_sha256": digest_of(fields.get(VERDICT)),
            "golden_sha256": golden.sha256(),
            "cases": [case.name for case in golden.cases],
            "limits": dataclasses.asdict(limits),
        }
        own = digest_of(parts)
        return cls(**parts | {"cases": tuple(parts["cases"]), "limits": limits, OWN: own})  # type: ignore[arg-type]


def changed_parts(fields: Mapping[str, Any]) -> list[str]:
    """Name the parts of a spec, given as parsed JSON, that are not as they were sealed; none if there is no seal."""
    seal = fields.get(SEAL)
    if not isinstance(seal, dict):
        return []
    own = {name: value for name, value in seal.items() if name != OWN}
    found = {
        "its description": _spec_sha256(fields) != seal.get("spec_sha256"),
        "its verdict": digest_of(fields.get(VERDICT)) != seal.get("verdict_sha256"),
        "its seal, which holds the limits": digest_of(own) != seal.get(OWN),
    }
    return [part for part, changed in found.items() if changed]


def digest_of(value: object) -> str:
    """Return the SHA-256 of a value that JSON can hold; the order of fields does not count."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _spec_sha256(fields: Mapping[str, Any]) -> str:
    return digest_of({name: value for name, value in fields.items() if name not in {VERDICT, SEAL}})
