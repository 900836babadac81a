"""enhance: photographs and folders of them in, better ones out."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from bncagan.cli.options import RuntimeOptions
from bncagan.cli.progress import Progress, progress
from runtimes.command import Flag, stopping
from runtimes.errors import InputError
from runtimes.formats import BY_SUFFIX

if TYPE_CHECKING:
    from runtimes.folders.enhancing import Rendering
    from runtimes.folders.naming import Naming
    from runtimes.folders.plan import Job, Result


@dataclass(frozen=True, kw_only=True)
class Enhance(RuntimeOptions):
    """Enhance photographs of any size, whole folders of them, and videos.

    Nothing that exists is replaced unless you say so. A photograph that cannot be done is named and does not stop the
    others.
    """

    photos: tyro.conf.Positional[tuple[Path, ...]]
    """Photographs, or folders of them, or videos. The first one may be the model: an exported file."""
    out: Path | None = None
    """Folder for the results, created if needed; of one video also the file itself."""
    model: str | None = None
    """Name of a packaged model (nano, small) or an exported file; if not given, small for photographs, else nano."""
    recursive: Annotated[Flag, tyro.conf.arg(aliases=["-r"])] = False
    """Go into sub-folders, which --out then mirrors."""
    skip_existing: Flag = False
    """Leave out photographs whose result exists: goes on where a run stopped."""
    overwrite: Flag = False
    """Replace results that exist; photographs of the run are never replaced."""
    in_place: Flag = False
    """Put each result in the place of its photograph, which stays as NAME.orig.EXT."""
    no_backup: Flag = False
    """With --in-place, keep no NAME.orig.EXT."""
    format: str | None = None
    """Format of the results, such as jpg or png; if not given, that of each photograph where it can be written."""
    suffix: str = ""
    """Text to add to the name of each result, such as -enhanced."""
    quality: int | None = None
    """Quality of lossy formats, 1 to 100; if not given, that of each photograph."""
    workers: int | None = None
    """Photographs in work at once, each in a thread of its own; if not given, one per core. Each takes memory."""
    max_megapixels: float = 250
    """Refuse photographs with more megapixels."""
    max_side: int | None = None
    """Longest side that the network sees, px; it sees larger photographs reduced, and its change is scaled up. If not
    given, 1024, and 512 for nano; 512 takes a quarter of the time."""
    strength: float = 1.0
    """Share of the change: 0 gives back the photograph, 1 the network's result, 1.5 is the most."""
    exposure: float = 0.0
    """Stops by which the result is made brighter, -2 to 2."""
    cube: Path | None = None
    """Write nano's change of one photograph as a colour cube of 33 points (.cube), in place of the photograph."""
    camera: str | None = None
    """Show the live picture of a camera, enhanced, in a window: its number, such as 0, or its device or address; a
    video file plays. Keys: b shows before and after, s saves the picture as a PNG file here, q or Esc ends."""
    mirror: Flag = False
    """With --camera, show the picture as a mirror does."""
    report: Path | None = None
    """Also write a file with one line of JSON for every file found: file, status, output, why."""
    before_after: Path | None = None
    """Also write contact sheets, six photographs on each: this picture, then NAME-2, NAME-3 and so on."""
    html: Path | None = None
    """Also write a web page with a slider between before and after for each photograph."""
    debug: Flag = False
    """Show the traceback of an error, also of one that a single photograph meets."""

    def run(self) -> int:
        """Plan, enhance and report; the exit code is 1 if some photographs could not be done."""
        from bncagan.cli.enhance_other import are_videos, enhance_videos, show_camera, write_cube
        from runtimes.folders.listing import find
        from runtimes.folders.plan import Job, plan
        from runtimes.folders.run import crew_size
        from runtimes.packaged import DEFAULT_MODEL

        model, photos = self._model_and_photos()
        if self.camera is not None:
            return show_camera(self, self.camera, model, photos)
        if self.mirror:
            raise InputError("--mirror should come with --camera but comes alone; leave it out")
        if self.cube is not None:
            return write_cube(self, self.cube, model, photos)
        if are_videos(photos):
            return enhance_videos(self, model, photos)
        model = model or DEFAULT_MODEL
        naming, rendering = self._naming(), self._rendering()
        steps = plan(find(photos, recursive=self.recursive, results=self.out), naming)
        self._require_free(steps, photographs=sum(isinstance(step, Job) for step in steps))
        return self._enhance(model, steps, rendering, crew_size(self.workers, steps))

    def _enhance(self, model: str, steps: Sequence[Job | Result], rendering: Rendering, workers: int) -> int:
        from runtimes.folders.contact_sheet import writing_sheets
        from runtimes.folders.enhancing import Enhancer
        from runtimes.folders.plan import Job, prepare
        from runtimes.folders.report import Tally, writing_report
        from runtimes.folders.run import open_model, run
        from runtimes.folders.slider_page import writing_page

        stop, tally = threading.Event(), Tally()
        with contextlib.ExitStack() as stack:
            runtime = stack.enter_context(open_model(model, workers, self.runtime_options()))
            shown = stack.enter_context(progress(sum(isinstance(step, Job) for step in steps)))
            enhancer = Enhancer(runtime, rendering, stop, shown.started, catch=not self.debug)
            prepare(steps, self.out)
            adders = [
                tally.add,
                stack.enter_context(writing_report(self.report)),
                stack.enter_context(writing_sheets(self.before_after)),
                stack.enter_context(writing_page(self.html)),
            ]
            signals = stack.enter_context(stopping(stop))
            with contextlib.closing(run(steps, enhancer, workers)) as results:
                for result in results:
                    for add in adders:
                        add(result)
                    announce(result, shown)
        print(f"bncagan: {tally}", file=sys.stderr)
        if signals:
            print("bncagan: stopped", file=sys.stderr)
            return 128 + signals[0]
        return tally.exit_code

    def _model_and_photos(self) -> tuple[str | None, Sequence[Path]]:
        """The model, if it is given, and what to enhance: a first argument that is a model file is the model."""
        first = self.photos[0] if self.photos else Path()
        if first.suffix.lower() not in BY_SUFFIX:
            return self.model, self.photos
        if self.model is not None:
            raise InputError(
                f"the model should be given once but is both --model {self.model} and {first}; leave one of them out"
            )
        return str(first), self.photos[1:]

    def _naming(self) -> Naming:
        from runtimes.folders.naming import Naming

        shared = {field.name for field in dataclasses.fields(Naming)} & {
            field.name for field in dataclasses.fields(self)
        }
        return Naming(backup=not self.no_backup, **{name: getattr(self, name) for name in shared})

    def _rendering(self) -> Rendering:
        from runtimes.folders.enhancing import Rendering

        shared = {field.name for field in dataclasses.fields(Rendering)} - {"looks"}
        looks = self.before_after is not None or self.html is not None
        return Rendering(looks=looks, **{name: getattr(self, name) for name in shared})

    def _require_free(self, steps: Sequence[Job | Result], photographs: int) -> None:
        """InputError if a report, a contact sheet or a web page would destroy something."""
        from runtimes import require_writable
        from runtimes.folders.contact_sheet import page_paths
        from runtimes.folders.plan import require_free
        from runtimes.folders.report import is_report

        extra = []
        if self.report is not None:
            extra.append((self.report, self.overwrite or (self.skip_existing and is_report(self.report))))
        if self.before_after is not None:
            require_writable(self.before_after)
            extra += [(path, self.overwrite) for path in page_paths(self.before_after, photographs)]
        if self.html is not None:
            if self.html.suffix.lower() not in {".html", ".htm"}:
                raise InputError(
                    f"{self.html} should end in .html but ends in {self.html.suffix or 'nothing'}; rename it"
                )
            extra.append((self.html, self.overwrite))
        of_run = [file for step in steps for file in (step.file, step.output) if file is not None] if extra else []
        require_free(extra, of_run)


def announce(result: Result, shown: Progress) -> None:
    """Print the path of a result on stdout; on stderr why a file has none, and what a result could not keep."""
    from runtimes.folders.listing import LINKED_FOLDER, NO_FILE, SUBFOLDER
    from runtimes.folders.plan import LINK

    if result.status == "done":
        shown.finished(result.file)
        print(result.output, flush=True)
        if result.why is not None:
            shown.say(f"bncagan: {result.file}: {result.why}")
    elif result.status == "failed":
        shown.finished(result.file)
        shown.say(f"bncagan: {result.why}")
    elif result.why in {LINKED_FOLDER, NO_FILE, SUBFOLDER, LINK}:
        shown.say(f"bncagan: {result.file} is skipped: {result.why}")
