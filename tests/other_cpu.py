"""The suite as it runs on a CPU without AVX512; `make test-other-cpu` starts it on one that has it.

Each library reads a variable that keeps it to AVX2. ONNX Runtime has none: there valgrind, whose CPU offers AVX2 at
most, verifies an exported file.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PROCESSES = ("tests/test_training.py", "tests/test_ablation.py")  # as in the Makefile
VALGRIND = ["valgrind", "--tool=none", "--smc-check=all", "--quiet"]


def environment() -> dict[str, str]:
    """This process's environment with every library kept to AVX2; an OPENBLAS_CORETYPE that is set stays."""
    found = np.show_config(mode="dicts")["SIMD Extensions"]["found"]  # type: ignore[index,call-overload]
    beyond = [name for name in found if name.startswith(("AVX512", "X86_V4"))]
    turned_down = {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OV_CPU_MAX_ISA": "AVX2",
        "NPY_DISABLE_CPU_FEATURES": " ".join(beyond),
    }
    return {"OPENBLAS_CORETYPE": "Haswell"} | os.environ | turned_down


def verify_under_valgrind(env: dict[str, str]) -> int:
    """Export `small` in fp32 at 64x64 and verify the file with ONNX Runtime on valgrind's CPU: the exit status."""
    if shutil.which(VALGRIND[0]) is None:
        print("ONNX Runtime was not checked: valgrind is not installed; install the package valgrind")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/small.onnx"
        command = [sys.executable, "-m", "bncagan"]
        given = ["--checkpoint", "small", "--precision", "fp32", "--shape", "64x64", "--out", file]
        exported = subprocess.run([*command, "export", "onnx", *given], cwd=ROOT, env=env, check=False)
        if exported.returncode:
            return exported.returncode
        return subprocess.run([*VALGRIND, *command, "verify", file], cwd=ROOT, env=env, check=False).returncode


def main() -> int:
    """Run pytest with the given arguments, then the check under valgrind; 1 if either fails."""
    if platform.machine() not in {"x86_64", "AMD64"}:
        print("expected an x86-64 CPU, whose features can be turned down; run make test on this one")
        return 1
    env = environment()
    pytest = [sys.executable, "-m", "pytest"]
    ignored = [f"--ignore={file}" for file in PROCESSES]
    suite = subprocess.run([*pytest, *sys.argv[1:], *ignored], cwd=ROOT, env=env, check=False)
    training = subprocess.run([*pytest, *PROCESSES], cwd=ROOT, env=env, check=False)
    return int(any((suite.returncode, training.returncode, verify_under_valgrind(env))))


if __name__ == "__main__":
    sys.exit(main())
