"""The exported models that the package carries: ONNX files of shipped weights, opened by name."""

from __future__ import annotations

from pathlib import Path

from runtimes.errors import ArtifactError

MODELS = Path(__file__).parent / "models"
DEFAULT_MODEL = "small"


def packaged_names() -> list[str]:
    """The names of the packaged models, sorted."""
    return sorted(path.stem for path in MODELS.glob("*.onnx"))


def locate(model: str | Path) -> Path:
    """Return the file of a model: a name without suffix and folder is that of a packaged model, all else is a path.

    Errors: ArtifactError, which lists the names, when there is no packaged model of that name.
    """
    path = Path(model)
    if path.suffix or path.name != str(path):
        return path
    if path.name not in packaged_names():
        raise ArtifactError(
            f"{path} should be a packaged model ({', '.join(packaged_names()) or 'none'}) or a file with its suffix "
            "but is neither; check the name"
        )
    return MODELS / f"{path.name}.onnx"
