"""The way of one photograph: decode, enhance, carry the change over, encode, write."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import shutil
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from runtimes.apply.applying import applied
from runtimes.apply.deep import deep_answer
from runtimes.base import Outputs, Runtime
from runtimes.controls import Controls
from runtimes.errors import NO_ROOM, InputError, UserError
from runtimes.files import replacing
from runtimes.folders.plan import Job, Look, Result
from runtimes.image import DeepAnswer, Pixels, thumbnail
from runtimes.photographs import MOST_MEGAPIXELS, Photograph, open_photograph
from runtimes.shape_choice import fit

STOPPED = "the run was stopped first"
FULL = "the disk is full"
LOOK_SIDE = 960  # px: longer side of the pictures in `Look`
AT_ONCE = 2  # photographs that the network sees at once, however many are in work


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendering:
    """How each photograph is enhanced and written.

    Errors: InputError or ArtifactError when a value cannot be used.
    """

    max_side: int | None = None
    """Longest side that the network sees, px; see `Runtime.enhance`."""
    strength: float = 1.0
    """Share of the change, from 0 to 1.5."""
    exposure: float = 0.0
    """Stops by which the result is made brighter, from -2 to 2."""
    quality: int | None = None
    """Quality of lossy formats, 1 to 100; None for that of the photograph."""
    max_megapixels: float = MOST_MEGAPIXELS
    """Photographs with more are refused."""
    looks: bool = False
    """Whether each result has a `Look`."""

    def __post_init__(self) -> None:
        Controls(self.strength, self.exposure)
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise InputError(
                f"quality should be a number from 1 to 100 but is {self.quality}; choose one in that range"
            )
        if not self.max_megapixels > 0:
            raise InputError(f"max_megapixels should be above 0 but is {self.max_megapixels:g}; choose a larger number")


class Gate(Runtime):
    """A runtime for several threads, of which only some run the network at once, because each needs memory for it."""

    concurrent = True

    def __init__(self, runtime: Runtime) -> None:
        self.spec, self.path, self.device, self.name = runtime.spec, runtime.path, runtime.device, runtime.name
        self._runtime = runtime
        self._free = threading.Semaphore(AT_ONCE if runtime.concurrent else 1)

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        with self._free:
            return self._runtime._run(inputs)


class _StoppedError(Exception):
    """The run was stopped between two steps of a photograph."""


class Enhancer:
    """Enhance one photograph after another; several threads may call it at once.

    stop: once it is set, photographs in progress are given up before their next step. A full disk sets it.
    started: is called with the path of each photograph at its beginning, by any thread.
    catch: False raises errors that are bugs, which otherwise fail one photograph.

    Errors: ArtifactError when the side that the network is to see is below its smallest one.
    """

    def __init__(
        self,
        runtime: Runtime,
        rendering: Rendering,
        stop: threading.Event,
        started: Callable[[Path], None] | None = None,
        *,
        catch: bool = True,
    ) -> None:
        fit(runtime.spec, runtime.spec.minimum, runtime.spec.minimum, rendering.max_side)
        self.left_out = STOPPED  # why photographs are skipped after `stop` is set
        self.stop = stop
        self._runtime, self._rendering = Gate(runtime), rendering
        self._started, self._catch = started, catch

    def __call__(self, job: Job) -> Result:
        """Enhance one photograph; the result says whether it failed."""
        if self._started is not None:
            self._started(job.file)
        try:
            return self._enhanced(job)
        except _StoppedError:
            return Result(job.file, "skipped", why=self.left_out)
        except UserError as error:
            why, cause = str(error), error.__cause__
        except OSError as error:
            why, cause = (
                f"{job.file} should be enhanced but cannot be ({error}); check its folder and that of {job.output}",
                error,
            )
        except MemoryError as error:
            why, cause = f"{job.file} should fit the memory but does not; use fewer --workers, or close programs", error
        except Exception as error:
            if not self._catch:
                raise
            # One photograph must not stop a folder, whatever a decoder raises on it
            said = " ".join(str(error).split())
            why, cause = f"{job.file} should be enhanced but fails ({type(error).__name__}: {said}); report it", error
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            self.left_out = FULL
            self.stop.set()
        return Result(job.file, "failed", why=why)

    def _enhanced(self, job: Job) -> Result:
        rendering = self._rendering
        photograph = open_photograph(job.file, rendering.max_megapixels)
        height, width = photograph.seen.shape[:2]
        least = self._runtime.spec.multiple
        if min(height, width) < least:
            raise InputError(
                f"{job.file} should have at least {least} px a side but has {width} x {height}; enlarge it"
            )
        self._go_on()
        enhanced, answer_to = self._answer(photograph)
        self._go_on()
        changed = photograph.changed(enhanced, answer_to)
        self._go_on()
        notes = _write(changed, job, rendering.quality)
        look = Look(_jpeg(photograph.seen), _jpeg(enhanced)) if rendering.looks else None
        return Result(job.file, "done", job.output, "; ".join(notes) or None, look)

    def _answer(self, photograph: Photograph) -> tuple[Pixels, DeepAnswer | None]:
        """What the network makes of a photograph, and where a change is applied to it, the answer to 16 bits."""
        given, (height, width) = self._rendering, photograph.seen.shape[:2]
        if not photograph.deep or not fit(self._runtime.spec, height, width, given.max_side).resample:
            enhanced = self._runtime.enhance(
                photograph.seen, max_side=given.max_side, strength=given.strength, exposure=given.exposure
            )
            return enhanced, None
        change = self._runtime.change(photograph.seen, max_side=given.max_side)
        controls = Controls(given.strength, given.exposure)
        return applied(photograph.seen, change, controls), deep_answer(change, height, width, controls)

    def _go_on(self) -> None:
        if self.stop.is_set():
            raise _StoppedError


def _write(photograph: Photograph, job: Job, quality: int | None) -> tuple[str, ...]:
    """Write a result and return what it could not keep. A photograph whose place it takes is kept first."""
    job.output.parent.mkdir(parents=True, exist_ok=True)
    mode = job.file.stat().st_mode
    if job.backup is not None:
        _keep(job.file, job.backup)
    notes = photograph.write(job.output, quality, overwrite=job.overwrite)
    if job.output == job.file:
        with contextlib.suppress(OSError):  # a file system without permissions
            job.output.chmod(stat.S_IMODE(mode))
    return notes


def _keep(file: Path, backup: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links. An older backup is its equal."""
    if os.path.lexists(backup):
        return
    try:
        os.link(file, backup)
    except OSError:
        with replacing(backup, overwrite=False) as temporary:
            shutil.copy2(file, temporary)


def _jpeg(image: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(thumbnail(image, LOOK_SIDE)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
