"""doctor: report what this machine can train, export and run."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from bncagan import __version__
from export.exporters import EXPORTERS
from runtimes.command import Flag
from runtimes.console import terminal
from runtimes.formats import FORMATS, Format
from runtimes.installation import install_hint, too_old, two_onnxruntimes, version_of

# Name of the distribution, its purpose, the extra that installs it.
LIBRARIES = (
    ("torch", "training, export, .pt2 files", "train"),
    ("lightning-fabric", "training", "train"),
    ("safetensors", "checkpoints", "train"),
    ("scikit-image", "evaluation, parity photographs", "train"),
    ("scipy", "intervals of scores", "train"),
    ("matplotlib", "pictures of results", "train"),
    ("onnx", "export", "train"),
    ("onnxscript", "export", "train"),
    *((form.library, f"{form.suffix} files", form.extra) for form in FORMATS.values() if form.library != "torch"),
    ("cuda-python", ".engine files", "tensorrt"),
)
WEIGHTS = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class Doctor:
    """Report which libraries, devices and weights this machine has, and how to install what is missing or too old."""

    deep: Flag = False
    """Also compute: exact sums, and the golden pictures of the packaged models in every backend; exit code 1 if one is
    wrong."""
    json: Flag = False
    """Print the findings as JSON."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Print the findings; the exit code is 1 if `deep` found an error."""
        from bncagan.cli.doctor_deep import diagnose

        libraries = {name: _installed(name) for name, _, _ in LIBRARIES}
        findings: dict[str, Any] = {
            "bncagan": __version__,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "cpu_count": os.cpu_count(),
            "accelerator": _accelerator() if libraries["torch"] else None,
            "providers": _providers() if libraries["onnxruntime"] else [],
            "weights": sorted(path.stem for path in WEIGHTS.glob("*.safetensors")),
            "conflict": two_onnxruntimes(),
            "too_old": too_old(),
            "libraries": libraries,
            "formats": {form.name: _missing(form) for form in FORMATS.values()},
        }
        deep = diagnose() if self.deep else []
        code = 0 if all(one.passed for one in deep) else 1
        if self.json:
            shown = {"deep": [asdict(one) for one in deep]} if self.deep else {}
            print(json.dumps(findings | shown, indent=2))
            return code
        console = terminal()
        for name, value in findings.items():
            if name not in {"libraries", "formats", "too_old"} and (name, value) != ("conflict", None):
                console.print(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
        for sentence in findings["too_old"]:
            console.print(f"too old: {sentence}", soft_wrap=True)
        table = Table("library", "version", "needed for", "to install")
        for name, purpose, extra in LIBRARIES:
            hint = "" if libraries[name] else install_hint(extra)
            table.add_row(name, libraries[name] or "missing", purpose, hint)
        console.print(table)
        table = Table("format", "export", "run")
        for form in FORMATS.values():
            table.add_row(form.title, *(missing or "yes" for missing in _missing(form).values()))
        console.print(table)
        for one in deep:
            console.print(f"{'right' if one.passed else 'WRONG'}: {one.what}: {one.why}")
        return code


def _missing(form: Format) -> dict[str, str | None]:
    """What prevents exporting and running a format; None if nothing does."""
    return {"export": EXPORTERS[form.name].missing(), "run": form.missing()}


def _installed(name: str) -> str | None:
    """The version of a distribution or of its GPU build, such as onnxruntime-gpu; None if neither is installed."""
    return version_of(name) or version_of(f"{name}-gpu")


def _accelerator() -> str:
    try:
        import torch
    except (ImportError, OSError) as error:  # installed but broken, which is a reason to call the doctor
        return f"unknown: torch cannot be imported ({error})"
    if torch.cuda.is_available():
        return f"CUDA: {torch.cuda.get_device_name()}"
    return "Apple GPU (MPS)" if torch.backends.mps.is_available() else "none that torch can use; it runs on the CPU"


def _providers() -> list[str]:
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        return [f"unknown: onnxruntime cannot be imported ({error})"]
    return list(onnxruntime.get_available_providers())
