"""Processes that tests start, talk to and end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# A test run in the background of a shell may ignore SIGINT, and its children with it.
HEARD = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.argv[0] = {name!r}; "
BNCAGAN = HEARD.format(name="bncagan") + "from bncagan.cli import main; sys.exit(main())"


def start(program: str, *arguments: object, group: bool = False, **environment: str | None) -> subprocess.Popen[str]:
    """Start a program of Python; see `start_python`."""
    return start_python("-c", program, *arguments, group=group, **environment)


def start_python(*arguments: object, group: bool = False, **environment: str | None) -> subprocess.Popen[str]:
    """Start this Python in the project's folder, with what the tests can import; it computes in one thread.

    group: give it a process group of its own, as a terminal does.
    environment: variables to set, or to remove where None.
    """
    path = os.pathsep.join([str(ROOT), *sys.path[1:]])
    variables = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=ROOT,
        env={name: value for name, value in variables.items() if value is not None},
        start_new_session=group,
    )
