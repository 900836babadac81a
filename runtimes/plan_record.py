"""The record of a TensorRT plan: the JSON file beside it, with its spec, its origin and its hash."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from runtimes.backends import read_spec
from runtimes.cuda_memory import Gpu
from runtimes.errors import ArtifactError
from runtimes.schema import build, parse_object
from runtimes.spec import ImageSpec
from runtimes.verdict import FORMAT_VERSION

SIDECAR = ".engine.json"


# The record is a file of its own because NVIDIA's tools refuse a plan with a header: ultralytics/ultralytics#22910
@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanRecord:
    """What the file beside a plan says about it."""

    spec: ImageSpec
    """The spec of the artifact."""
    tensorrt: str
    """Version of TensorRT that built the plan; no other version runs it."""
    gpu: str
    """Name of the GPU that built it; no other GPU runs it."""
    compute_capability: str
    """Compute capability of that GPU, such as "8.7"."""
    onnx_sha256: str
    """SHA-256 of the ONNX file that it was built from."""
    plan_sha256: str
    """SHA-256 of the plan."""

    @property
    def home(self) -> Gpu:
        """The GPU on which the plan was built."""
        return Gpu(self.gpu, self.compute_capability)

    def to_json(self) -> str:
        """Return the record as JSON text."""
        fields = dataclasses.asdict(self) | {"spec": json.loads(self.spec.to_json())}
        return json.dumps(fields, indent=2, allow_nan=False)

    @classmethod
    def read(cls, path: Path) -> PlanRecord:
        """Read the record of the plan at `path`.

        Errors: ArtifactError, naming the file, when it is missing, damaged, or says that the parity check failed.
        """
        sidecar = sidecar_path(path)
        try:
            fields = parse_object(sidecar.read_text(encoding="utf-8"), str(sidecar))
        except FileNotFoundError as error:
            raise ArtifactError(
                f"{path} should have its spec beside it but {sidecar.name} does not exist; "
                "copy both files, or export it again"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(f"{sidecar} should be a JSON file but is not ({error}); export it again") from error
        spec = read_spec(json.dumps(fields.get("spec")), sidecar)
        newer = spec.format_version if spec.format_version > FORMAT_VERSION else None
        return build(cls, fields | {"spec": spec}, str(sidecar), newer=newer)


def sidecar_path(path: Path) -> Path:
    """Return the path of a plan's record: that of the plan with the suffix .engine.json."""
    return path.with_suffix(SIDECAR)
