"""An opened subject in its own process, at one shape with one number of threads; it becomes a row."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from benchmarks.candidates import Subject, files_of, hash_files
from benchmarks.report import ARITHMETICS, Likeness, Measurement
from runtimes import ArtifactError, ImageSpec
from runtimes.controls import DEFAULT
from runtimes.golden import Case, Golden, golden_path
from runtimes.image import Pixels
from runtimes.likeness import THRESHOLDS, CaseScore, Thresholds, compare
from runtimes.spec import Shape

USUAL = (512, 512)  # default H, W
GOLDEN = "golden pictures"
HOME = str(Path(__file__).resolve().parents[1])  # the folder of this package and of `runtimes`
MAIN = f"import sys; sys.path[0] = {HOME!r}; from benchmarks.worker import main; main()"
LAST_WORDS_S = 5  # time that a process has to end


class WorkerProcess:
    """A process that opens and measures one artifact. The output of its libraries goes to the file `log`."""

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
        """Send the worker a request and wait for its answer. `do` is the name of an action of the worker.

        Errors: ArtifactError with the worker's error, or with its last line of output if the process has ended.
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
            raise ArtifactError(f"its process should answer but has ended ({self._last_words()}); measure it alone")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ArtifactError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process; kill it if it does not end within 5 s."""
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
        """Return the exit code and the last line of the log."""
        code = self._process.wait()
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return f"exit code {code}" + (f", {lines[-1].strip()}" if lines else "")


@dataclasses.dataclass(eq=False, kw_only=True)
class Entry:
    """An opened subject and its samples. Fields that `Measurement` has, too, have the same meaning."""

    subject: Subject
    """What was opened."""
    threads: int | None
    shape: Shape
    process: WorkerProcess
    """The process in which it is open."""
    folder: Path
    """A folder for the files that are exchanged with the process."""
    spec: ImageSpec
    """What the artifact says about itself."""
    path: Path
    """The file of the artifact."""
    runtime: str
    device: str
    load_ns: int
    first_ns: int = 0
    cpu_ns: int = 0
    """CPU time of the process when it was last asked for it."""
    inference_ns: list[int] = dataclasses.field(default_factory=list)
    end_to_end_ns: list[int] = dataclasses.field(default_factory=list)

    @property
    def ran(self) -> str:
        """The arithmetic that the backend names at the end of its device; else the precision of the file."""
        last = self.device.rpartition(", ")[2]
        return last if last in ARITHMETICS else self.spec.precision

    def start(self, picture: Pixels) -> None:
        """Send the picture and run the first inference; ArtifactError when the artifact refuses the shape."""
        if not self.spec.shapes.accepts(*self.shape):
            raise ArtifactError(
                f"it should run {self.spec.shapes} (N x H x W) but is measured at {'x'.join(map(str, self.shape))}; "
                "choose another --shape or --batch, or export that shape"
            )
        np.save(self.folder / "picture.npy", picture)
        self.process.ask("picture", file=str(self.folder / "picture.npy"), batch=self.shape[0])
        self.first_ns = self.process.ask("measure")["inference_ns"]

    def sample(self, *, keep: bool) -> None:
        """Measure one call; its times are stored if `keep` is true."""
        answer = self.process.ask("measure")
        if keep:
            self.inference_ns.append(answer["inference_ns"])
            self.end_to_end_ns.append(answer["end_to_end_ns"])

    def draw(self, picture: Pixels) -> tuple[Pixels, bool]:
        """Enhance a picture. Returns the result, and whether all its numbers were finite."""
        source, target = self.folder / "source.npy", self.folder / "target.npy"
        np.save(source, picture)
        answer = self.process.ask("draw", source=str(source), target=str(target))
        return np.load(target, allow_pickle=False), answer["finite"]

    def likeness(self, reference: Entry | None, pictures: Sequence[Pixels]) -> Likeness | None:
        """Compare this entry's pictures with those of `reference` or, if it is None, with the golden pictures.

        If no golden picture has this entry's shape, all those are used that the artifact accepts. Returns None if there
        is nothing to compare with.
        """
        if reference is self:
            return Likeness(reference="itself", pictures=0, psnr_min=None, max_code=0)
        if reference is not None:
            cases = [Case(f"picture {i}", p, reference.draw(p)[0]) for i, p in enumerate(pictures, 1)]
            return self._judge(cases, reference.subject.name)
        if not golden_path(self.path).is_file():
            return None
        try:
            golden = [case for case in Golden.load(golden_path(self.path)).cases if self._takes(case)]
        except ArtifactError as error:
            return Likeness(reference=GOLDEN, pictures=0, psnr_min=None, max_code=0, failures=(str(error),))
        same = [case for case in golden if case.size == self.shape[1:]]
        return self._judge(same or golden, GOLDEN) if golden else None

    def measurement(self) -> Measurement:
        """Make the row, still without the comparison of pictures; ArtifactError when its times are impossible."""
        files = files_of(self.path)
        return Measurement(
            subject=self.subject.name,
            kind=self.subject.kind,
            model=self.spec.model,
            format=self.subject.format,
            io=self.spec.io,
            precision=self.spec.precision,
            ran=self.ran,
            weights_sha256=self.spec.weights_sha256,
            runtime=self.runtime,
            device=self.device,
            threads=self.threads,
            shape=self.shape,
            size_bytes=sum(file.stat().st_size for file in files),
            sha256=hash_files(files),
            load_ns=self.load_ns,
            first_ns=self.first_ns,
            inference_ns=tuple(self.inference_ns),
            end_to_end_ns=tuple(self.end_to_end_ns),
            verdict=self.spec.parity,
            check=None,
            **self.process.ask("usage"),
        )

    def _takes(self, case: Case) -> bool:
        """Whether the artifact accepts the case's shape and the case is meaningful.

        Only the default controls are measured, and of answers by maps those that take the place of pictures. In format
        version 1.0, pictures of one colour are not meaningful (see `runtimes.likeness.excused`).
        """
        told = case.controls == DEFAULT and (self.spec.format_version > (1, 0) or not case.flat)
        drawn = case.photograph is None or (self.spec.output == "maps" and case.expected.shape == case.image.shape)
        return told and drawn and self.spec.shapes.accepts(self.shape[0], *case.size)

    def _judge(self, cases: Sequence[Case], reference: str) -> Likeness:
        return judge([self._score(case) for case in cases], limits_of(self.spec.precision, self.ran), reference)

    def _score(self, case: Case) -> CaseScore:
        produced, finite = self.draw(case.image)
        return dataclasses.replace(compare(case, produced, batch=self.shape[0]), finite=finite)


def limits_of(precision: str, ran: str) -> Thresholds:
    """Return the limits for a precision. An fp32 file that ran in bf16 gets the limits of fp16."""
    return THRESHOLDS["fp16" if (precision, ran) == ("fp32", "bf16") else precision]


def judge(scores: Sequence[CaseScore], limits: Thresholds, reference: str) -> Likeness:
    """Summarize the scores, at least one, and list the broken limits."""
    return Likeness(
        reference=reference,
        pictures=len(scores),
        psnr_min=min((score.psnr for score in scores if score.psnr is not None), default=None),
        max_code=max(score.max_code for score in scores),
        failures=tuple(failure for score in scores for failure in limits.failures(score)),
    )


def open_entry(subject: Subject, threads: int | None, shape: Shape | None, batch: int, folder: Path) -> Entry:
    """Open a subject in a new process.

    shape: N, H, W; None for the subject's first or optimum size with this `batch`.
    folder: a folder for the log and for exchanged files.

    Errors: ArtifactError when it does not open, or when it runs in another precision than the options say.
    """
    options = dict(subject.options)
    if threads is not None:
        options["threads"] = threads
    if subject.takes_shape:
        options["shape"] = shape or (batch, *USUAL)
    process = WorkerProcess(folder / "log.txt")
    try:
        opened = process.ask("open", opener=subject.opener, path=subject.path, options=options)
        spec = ImageSpec.from_json(opened["spec"])
        entry = Entry(
            subject=subject,
            threads=threads,
            shape=shape or (batch, *usual_size(spec)),
            process=process,
            folder=folder,
            spec=spec,
            path=Path(opened["path"]),
            runtime=opened["runtime"],
            device=opened["device"],
            load_ns=opened["load_ns"],
        )
        asked = options.get("precision", entry.ran)
        if asked != entry.ran:
            raise ArtifactError(f"it should run in {asked} but runs in {entry.ran} on this machine; leave it out")
    except ArtifactError:
        process.close()
        raise
    return entry


def usual_size(spec: ImageSpec) -> tuple[int, int]:
    """Return H, W of the first fixed shape, or of the optimum of a range."""
    _, height, width = spec.shapes.fixed[0] if spec.shapes.fixed else spec.shapes.optimum or (1, *USUAL)
    return height, width
