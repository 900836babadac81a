"""What became of each file: one JSON line each, and one line for all."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from runtimes.files import replacing
from runtimes.folders.plan import EXISTS, Result

LONGEST = 100_000  # characters of a line that may be of a report

Add = Callable[[Result], None]


class Tally:
    """Counts of results, and the exit code that follows from them."""

    def __init__(self) -> None:
        self._done = self._failed = 0
        self._skipped: Counter[str] = Counter()

    def add(self, result: Result) -> None:
        """Count a result."""
        if result.status == "skipped":
            self._skipped[result.why or ""] += 1
        elif result.status == "failed":
            self._failed += 1
        else:
            self._done += 1

    def __str__(self) -> str:
        why = "; ".join(f"{reason}: {number}" for reason, number in self._skipped.most_common())
        skipped = f"{self._skipped.total()} skipped" + (f" ({why})" if why else "")
        return f"{self._done} done, {skipped}, {self._failed} failed"

    @property
    def exit_code(self) -> int:
        """0: no photograph failed; 1: some did; 2: all did, and no result exists."""
        if self._failed == 0:
            return 0
        return 1 if self._done or self._skipped[EXISTS] else 2


def line(result: Result) -> str:
    """Return a result as one line of JSON. Bytes in a name that are not UTF-8 are escaped, as os.fsencode undoes."""
    fields = {"file": str(result.file), "status": result.status, "output": None, "why": result.why}
    if result.output is not None:
        fields["output"] = str(result.output)
    return json.dumps(fields)


def is_report(path: Path) -> bool:
    """Whether a file is a report, so that a later run may replace it."""
    try:
        with path.open(encoding="utf-8") as file:
            return list(json.loads(file.readline(LONGEST))) == ["file", "status", "output", "why"]
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def writing_report(path: Path | None) -> Iterator[Add]:
    """Yield a function that adds a result; the file gets its name at the end, also at that of an error.

    path: None for no report.
    """
    if path is None:
        yield lambda _: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    ended: BaseException | None = None
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        try:
            yield lambda result: print(line(result), file=file)
        except BaseException as error:  # noqa: BLE001 # raised again below, when the report is written
            ended = error
    if ended is not None:
        raise ended
