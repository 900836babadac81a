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

from bncagan.cli.evaluation import open_enhancer
from runtimes.command import Flag
from runtimes.console import terminal
from runtimes.errors import InputError
from runtimes.files import replacing, write_json

if TYPE_CHECKING:
    from bncagan.evaluation.stress import Enhancer, Outcome, Strip
    from runtimes.image import Pixels

COUNT = 40
ROWS = ("input", "enhanced", "profile, or enhanced three times")


@dataclass(frozen=True)
class Stress:
    """Check without references that an enhancer does no harm: five checks with a limit for every number.

    Grey stays grey; edges get no halos; ramps keep rising; good photographs hardly change; enhancing again changes less
    and less. The exit code is 1 if a check fails.
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
    json: Flag = False
    """Print the numbers as JSON instead of a table."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Enhance, measure and write the result; returns 1 if a check fails."""
        from bncagan.evaluation.stress import enhancements, stress, summary_of

        option, what = self._given()
        photographs = self._photographs()
        console = terminal(stderr=True)
        with ExitStack() as stack:
            enhancer = open_enhancer(option, what, stack)
            progress = stack.enter_context(Progress(console=console, transient=True, disable=not console.is_terminal))
            task = progress.add_task("enhancing", total=enhancements(len(photographs)))
            outcomes, examples = stress(_counted(enhancer, lambda: progress.advance(task)), photographs)
        about = {
            "enhancer": f"{option} {what}",
            "photos": "scikit-image" if self.photos is None else str(self.photos),
            "photographs": list(photographs),
        }
        summary = about | summary_of(outcomes)
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(self.out / "stress.json", summary)
        write_picture(self.out / "stress.png", examples)
        if self.json:
            print(json.dumps(summary, indent=2))
        else:
            terminal().print(_table(outcomes))
            print(f"{_verdict(outcomes)}; {len(photographs)} good photographs of {about['photos']}")
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
        return ("checkpoint", self.checkpoint) if self.checkpoint is not None else ("artifact", str(self.artifact))

    def _photographs(self) -> dict[str, Pixels]:
        from bncagan.evaluation.stress_pictures import best_exposed, bundled_photographs

        if self.photos is None:
            return bundled_photographs()
        with terminal(stderr=True).status(f"looking for the best exposed photographs of {self.photos}"):
            return best_exposed(self.photos, COUNT if self.count is None else self.count)


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


def write_picture(path: Path, examples: Sequence[Strip]) -> None:
    """Draw a column for each example: input, output, and a third tile.

    The third tile is the photograph enhanced three times, or the profile of a drawn picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.7 * len(examples), 8.6), layout="constrained")
    axes = figure.subplots(len(ROWS), len(examples), squeeze=False)
    for column, example in zip(axes.T, examples, strict=True):
        for axis, tile in zip(column, example.tiles, strict=False):
            axis.imshow(tile)
            axis.set_xticks([])
            axis.set_yticks([])
        column[0].set_title(example.title, fontsize=8, parse_math=False)  # names may hold $
        if len(example.tiles) < len(ROWS):
            _draw_profile(column[-1], example.tiles[0], example.tiles[1])
    for axis, name in zip(axes[:, 0], ROWS, strict=True):
        axis.set_ylabel(name, fontsize=9)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _draw_profile(axis: Any, before: Pixels, after: Pixels) -> None:
    """Plot L* of both and the chroma of the output along the middle row, or the middle column of a vertical ramp."""
    from skimage.color import rgb2lab

    middle = before.shape[0] // 2, before.shape[1] // 2
    down = (before == before[:, :1]).all()
    line = (slice(None), middle[1]) if down else (middle[0], slice(None))
    old, new = (rgb2lab(pixels[line]) for pixels in (before, after))
    axis.plot(old[:, 0], color="tab:gray", label="L* before")
    axis.plot(new[:, 0], color="black", label="L* after")
    axis.plot((new[:, 1] ** 2 + new[:, 2] ** 2) ** 0.5, color="tab:red", label="chroma after")
    axis.set_ylim(-2, 102)
    axis.tick_params(labelsize=7)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=6, frameon=False, columnspacing=1)
