"""Description of the machine: hardware, power settings, system, libraries and revision.

Facts that cannot be found are left out; nothing is guessed.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from runtimes.cores import cores

LIBRARIES = (
    "bncagan",
    "numpy",
    "pillow",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "torch",
    "tensorrt",
    "cuda-python",
    "coremltools",
    "ai-edge-litert",
)
STEERING = (
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "OPENBLAS_",
    "CUDA_",
    "TORCHINDUCTOR_",
)  # prefixes of environment variables that set threads and devices
CHECKOUT = Path(__file__).resolve().parents[1]
PATIENCE_S = 10  # time limit of a command that describes the machine


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """The machine and the software that made a report."""

    board: str | None
    """Name of the single-board computer, or product name of the machine."""
    cpu: str | None
    """Model of the processor; on a Mac, the chip."""
    cores: int
    """Number of processors that this process may use."""
    memory_bytes: int | None
    """Main memory of the machine."""
    gpus: tuple[str, ...]
    """Name and driver of each NVIDIA GPU."""
    system: str
    """Operating system and kernel."""
    power: dict[str, str]
    """Power mode, governor, clocks and the like, by name."""
    python: str
    """Implementation and version of Python."""
    libraries: dict[str, str]
    """Versions of the installed libraries, by name."""
    revision: str | None
    """Commit of the checkout, with "+" if files were changed; None without a checkout."""
    variables: dict[str, str]
    """Environment variables that set threads and devices."""

    @property
    def machine(self) -> str:
        """A short description of the hardware."""
        memory = "" if self.memory_bytes is None else f", {self.memory_bytes / 2**30:.0f} GiB"
        parts = [name for name in (self.board, self.cpu, *self.gpus) if name]
        return f"{', '.join(parts) or 'unknown machine'}, {self.cores} cores{memory}"


def describe_environment(root: Path = Path("/")) -> Environment:
    """Describe the environment of this process. `root` is the folder with proc and sys."""
    return Environment(
        board=board(root),
        cpu=cpu(root),
        cores=cores(),
        memory_bytes=memory(root),
        gpus=gpus(),
        system=f"{_distribution()} ({platform.system()} {platform.release()} {platform.machine()})",
        power=power(root),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        libraries=libraries(),
        revision=revision(),
        variables={name: value for name, value in sorted(os.environ.items()) if name.startswith(STEERING)},
    )


def board(root: Path) -> str | None:
    """Return the name from the device tree, or the product name from the firmware, or the model of a Mac."""
    for place in ("proc/device-tree/model", "sys/devices/virtual/dmi/id/product_name"):
        name = _read(root / place)
        if name:
            return name
    return _ask("sysctl", "-n", "hw.model") if sys.platform == "darwin" else None


def cpu(root: Path) -> str | None:
    """Return the model of the processor."""
    if sys.platform == "darwin":
        return _ask("sysctl", "-n", "machdep.cpu.brand_string")
    facts = _pairs(_read(root / "proc/cpuinfo"))
    return facts.get("model name") or facts.get("Model") or facts.get("Hardware") or platform.processor() or None


def memory(root: Path) -> int | None:
    """Return the size of the main memory in bytes."""
    if sys.platform == "darwin":
        answer = _ask("sysctl", "-n", "hw.memsize")
        return int(answer) if answer and answer.isdigit() else None
    total = _pairs(_read(root / "proc/meminfo")).get("MemTotal", "").split()
    return int(total[0]) * 1024 if total else None


def gpus() -> tuple[str, ...]:
    """Return NVIDIA's GPUs, from nvidia-smi. Other GPUs are part of the chip that `cpu` or `board` names."""
    answer = _ask("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    return tuple(line.strip().replace(", ", ", driver ") for line in (answer or "").splitlines() if line.strip())


def power(root: Path) -> dict[str, str]:
    """Return what determines the speed of the machine: Jetson's power mode and load, governors, clocks, battery."""
    cpus, devices = root / "sys/devices/system/cpu", root / "sys/class/devfreq"
    found = {
        "nvpmodel": _ask("nvpmodel", "-q"),
        "tegrastats": _first_line("tegrastats", "--interval", "200"),
        "governor": _values(cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")),
        "cpu kHz": _values(cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")),
        "cpu kHz, most": _values(cpus.glob("cpu[0-9]*/cpufreq/scaling_max_freq")),
        "boost": _read(cpus / "cpufreq/boost"),
        "profile": _read(root / "sys/firmware/acpi/platform_profile"),
        "battery": _ask("pmset", "-g", "batt") if sys.platform == "darwin" else None,
    }
    for place in sorted(devices.glob("*")) if devices.is_dir() else []:  # Jetson's GPU and memory controllers
        found[f"{place.name} Hz"] = _read(place / "cur_freq")
        found[f"{place.name} Hz, most"] = _read(place / "max_freq")
    return {name: " / ".join(text.split("\n")) for name, text in found.items() if text}


def libraries() -> dict[str, str]:
    """Return the versions of those LIBRARIES that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def revision() -> str | None:
    """Return the commit of this file's checkout, with "+" if files were changed; None without a checkout."""
    if not (CHECKOUT / ".git").exists():
        return None
    commit = _ask("git", "-C", str(CHECKOUT), "rev-parse", "HEAD")
    changed = _ask("git", "-C", str(CHECKOUT), "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+" if commit and changed else commit


def _distribution() -> str:
    """Return the name and version of the operating system."""
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _read(path: Path) -> str | None:
    """Return the trimmed text of a file, or None without one. Strings of device trees end with a zero byte."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return None


def _values(paths: Iterable[Path]) -> str | None:
    """Return the texts of the files, each different one once; None without any."""
    return ", ".join(dict.fromkeys(text for path in sorted(paths) if (text := _read(path)))) or None


def _pairs(text: str | None) -> dict[str, str]:
    """Parse lines of the form "name: value"; the first line of a name counts."""
    pairs: dict[str, str] = {}
    for line in (text or "").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            pairs.setdefault(name.strip(), value.strip())
    return pairs


def _ask(*command: str) -> str | None:
    """Return the output of a command; None if the command is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _first_line(*command: str) -> str | None:
    """Return the first line of a command that never ends; None if it is missing or prints nothing."""
    if shutil.which(command[0]) is None:
        return None
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        process.terminate()
    return line or None
