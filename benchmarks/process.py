"""This side of the pipe to a `benchmarks.worker`."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from runtimes import ArtifactError

HOME = str(Path(__file__).resolve().parents[1])  # where this package and `runtimes` lie
MAIN = f"import sys; sys.path[0] = {HOME!r}; from benchmarks.worker import main; main()"
LAST_WORDS_S = 5


class WorkerProcess:
    """A process in which one artifact is opened and measured; what its libraries print goes to the file `log`."""

    def __init__(self, log: Path) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", MAIN],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
            )

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """Have the worker do something and wait for its answer.

        Errors: ArtifactError with the worker's sentence, or with the last line it printed when the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            line = ""
        else:
            line = self._process.stdout.readline()
        if not line:
            raise ArtifactError(f"its process should answer but ended ({self._last_words()}); run it by itself")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ArtifactError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process, if need be by force."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _last_words(self) -> str:
        """Exit code and the last line of the log."""
        code = self._process.wait()
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return f"exit code {code}" + (f", {lines[-1].strip()}" if lines else "")
