"""stress: measure the harm that an enhancer does to drawn pictures and to photographs that are already good."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress
from rich.table import Table

from bncagan.cli.methods import open_enhancer
from runtimes.command import Flag
from runtimes.console import terminal
from runtimes.errors import InputError
from runtimes.files import write_json

if TYPE_CHECKING:
    from bncagan.evaluation.metrics import Enhancer
    from bncagan.evaluation.stress.outcome import Outcome
    from bncagan.evaluation.stress.photographs import Photographs
    from runtimes.image import Pixels

COUNT = 40
RENDERED = 12
PARTS = ("train", "val", "test")  # folders of a data set


@dataclass(frozen=True)
class Stress:
    """Check an enhancer without references: nine checks with a limit for every number.

    Grey stays grey; edges get no halos; ramps keep rising; good photographs hardly change; enhancing again changes less
    and less; what is dark or pale on purpose stays so; a photograph comes back equally bright at every exposure and
    every size; noise grows no more than the tone curve makes it grow. The exit code is 1 if a check fails.
    """

    out: Path
    """Folder for stress.json and stress.png."""
    checkpoint: str | None = None
    """Generator file, or name of shipped weights."""
    artifact: Path | None = None
    """Exported file, instead of a checkpoint."""
    photos: Path | None = None
    """Folder of photographs; the best exposed ones are used as good photographs. If not given, scikit-image's."""
    count: int | None = None
    """Number of photographs of --photos to use, the best exposed first; 40 if not given."""
    keep: Path | None = None
    """Folder of photographs to leave alone: dark or pale on purpose. If not given, the folder keep of the data set that
    --photos is in, if it exists."""
    large: Path | None = None
    """Folder of large photographs, to be reduced to several sizes; if not given, those of --photos."""
    rendered: int = RENDERED
    """Number of photographs to render at several exposures and sizes, the best exposed first."""
    json: Flag = False
    """Print the numbers as JSON instead of a table."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Enhance, measure and write the result; returns 1 if a check fails."""
        from bncagan.evaluation.stress.outcome import summary_of
        from bncagan.evaluation.stress.run import enhancements, stress
        from bncagan.evaluation.stress.sheet import write_picture

        option, what = self._given()
        photographs = self._photographs()
        console = terminal(stderr=True)
        with ExitStack() as stack:
            enhancer = open_enhancer(option, what, stack)
            progress = stack.enter_context(Progress(console=console, transient=True, disable=not console.is_terminal))
            task = progress.add_task("enhancing", total=enhancements(photographs))
            outcomes, examples = stress(_counted(enhancer, lambda: progress.advance(task)), photographs)
        about = {"enhancer": f"{option} {what}"} | self._about(photographs)
        summary = about | summary_of(outcomes)
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(self.out / "stress.json", summary)
        write_picture(self.out / "stress.png", examples)
        if self.json:
            print(json.dumps(summary, indent=2))
        else:
            terminal().print(_table(outcomes))
            for outcome in outcomes:
                if outcome.left_out:
                    print(f"{outcome.check}, left out: {outcome.left_out}")
            print(f"{_verdict(outcomes)}; {len(photographs.good)} good photographs of {about['photos']}")
            print(f"written to {self.out}: stress.json stress.png")
        return 0 if summary["passed"] else 1

    def _given(self) -> tuple[str, str]:
        """The option and the value that name the enhancer; InputError for contradictory options."""
        if (self.checkpoint is None) == (self.artifact is None):
            came = "no --checkpoint or --artifact" if self.checkpoint is None else "both --checkpoint and --artifact"
            raise InputError(f"stress should have one enhancer but has {came}; name one")
        if self.count is not None and self.photos is None:
            raise InputError(
                f"--count {self.count} should be used with --photos but is without; name a folder, or leave it out"
            )
        for option, number in (("--count", COUNT if self.count is None else self.count), ("--rendered", self.rendered)):
            if number < 1:
                raise InputError(f"{option} should be at least 1 but is {number}; raise it")
        return ("checkpoint", self.checkpoint) if self.checkpoint is not None else ("artifact", str(self.artifact))

    def _photographs(self) -> Photographs:
        from bncagan.evaluation.stress.photographs import gather

        with terminal(stderr=True).status("reading photographs"):
            count = COUNT if self.count is None else self.count
            return gather(self.photos, self.large, self._keep(), count, self.rendered)

    def _keep(self) -> Path | None:
        """The folder of photographs that are dark or pale on purpose."""
        if self.keep is not None or self.photos is None:
            return self.keep
        from bncagan.data.folders import KEEP_NAME

        part = self.photos.absolute().parent
        found = part.parent / KEEP_NAME
        return found if part.name in PARTS and found.is_dir() else None

    def _about(self, photographs: Photographs) -> dict[str, Any]:
        """Which photographs were taken."""
        photos = "scikit-image" if self.photos is None else str(self.photos)
        keep = self._keep()
        return {
            "photos": photos,
            "photographs": list(photographs.good),
            "rendered at several exposures": list(photographs.exposed),
            "large": photos if self.large is None else str(self.large),
            "rendered at several sizes": list(photographs.sized),
            "keep": None if keep is None else str(keep),
            "kept": list(photographs.keep),
        }


def _counted(enhancer: Enhancer, advance: Callable[[], None]) -> Enhancer:
    def counted(pixels: Pixels) -> Pixels:
        output = enhancer(pixels)
        advance()
        return output

    return counted


def _verdict(outcomes: Sequence[Outcome]) -> str:
    failed = [outcome.check for outcome in outcomes if not outcome.passed]
    return f"stress FAIL: {', '.join(failed)}" if failed else "stress PASS"


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table("check", "measure")
    table.add_column("value", justify="right")
    table.add_column("below", justify="right")
    table.add_column("")
    table.add_column("worst, or of what", overflow="fold")
    for outcome in outcomes:
        for measure in outcome.measures:
            said = "pass" if measure.passed else "FAIL"
            table.add_row(
                outcome.check, measure.name, f"{measure.value:.2f}", f"{measure.limit:g}", said, measure.detail
            )
    return table
