"""Many photographs, enhanced on several threads: `enhance_folder`, and its steps for the command line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from runtimes.backends import load
from runtimes.base import Runtime
from runtimes.cores import cores
from runtimes.errors import InputError
from runtimes.folders.enhancing import AT_ONCE, Enhancer, Rendering
from runtimes.folders.listing import find
from runtimes.folders.naming import Naming
from runtimes.folders.ordered import in_order
from runtimes.folders.plan import Job, Result, plan, prepare
from runtimes.packaged import DEFAULT_MODEL, locate


def enhance_folder(
    photos: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    model: str | Path = DEFAULT_MODEL,
    recursive: bool = False,
    workers: int | None = None,
    started: Callable[[Path], None] | None = None,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Result]:
    """Enhance photographs and folders of them; yield what became of each file, in a stable order.

    All is checked before the iterator is returned; the work is done as it is read, and closing it stops the work. One
    photograph that fails does not stop the others. As many photographs as there are workers are in memory at once.

    photos: files and folders.
    out: folder of the results; None with `in_place=True`.
    model: the name of a packaged model, or an artifact.
    recursive: go into sub-folders; `out` mirrors them.
    workers: number of threads, each with a photograph of its own; None for one per core.
    started: is called with the path of each photograph at its beginning, by any thread.
    options: keyword arguments of `load`.
    settings: fields of `Naming`, such as skip_existing=True, and of `Rendering`, such as strength=0.8.

    Example:
        for result in runtimes.enhance_folder("holiday", "enhanced", recursive=True, skip_existing=True):
            print(result.status, result.file, result.output, result.why)

    Errors: InputError or ArtifactError, before any work, when an input, an output, the model or a setting cannot be
    used. TypeError for an unknown setting.
    """
    given = [photos] if isinstance(photos, (str, Path)) else photos
    folder = None if out is None else Path(out)
    naming_names = Naming.__dataclass_fields__.keys()
    naming = Naming(out=folder, **{name: value for name, value in settings.items() if name in naming_names})
    rendering = Rendering(**{name: value for name, value in settings.items() if name not in naming_names})
    steps = plan(find([Path(path) for path in given], recursive=recursive, results=folder), naming)
    workers = crew_size(workers, steps)
    runtime = open_model(model, workers, options or {})
    prepare(steps, folder)
    return _closing(runtime, run(steps, Enhancer(runtime, rendering, threading.Event(), started), workers))


def _closing(runtime: Runtime, results: Iterator[Result]) -> Iterator[Result]:
    with runtime:
        yield from results


def run(steps: Sequence[Job | Result], enhancer: Enhancer, workers: int) -> Generator[Result, None, None]:
    """Do the jobs of a plan and yield the result of every step in order.

    Once the enhancer's `stop` is set, photographs in progress are finished or given up, and those left are skipped.
    """
    made = in_order(enhancer, [step for step in steps if isinstance(step, Job)], workers, enhancer.stop)
    try:
        for step in steps:
            if isinstance(step, Result):
                yield step
            else:
                result = next(made, None)
                yield result or Result(step.file, "skipped", why=enhancer.left_out)
    finally:
        made.close()


def open_model(model: str | Path, workers: int, options: dict[str, Any]) -> Runtime:
    """Open a model for a number of workers: those that run it at once share the cores if they are ONNX Runtime's."""
    path = locate(model)
    if path.suffix.lower() == ".onnx" and not options.keys() & {"threads", "providers"}:
        options = {**options, "threads": max(1, cores() // min(workers, AT_ONCE))}
    return load(path, **options)


def crew_size(workers: int | None, steps: Sequence[Job | Result]) -> int:
    """Return the number of workers for a plan: as asked, or one per core, and no more than there are jobs.

    Errors: InputError when fewer than 1 are asked for.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers should be a number from 1 but is {workers}; leave it out for one per core")
    return max(1, min(workers or cores(), sum(isinstance(step, Job) for step in steps)))
