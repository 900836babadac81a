"""The subjects of a measurement: artifacts, the network in PyTorch, and ONNX files of other networks."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.report import NotRun
from runtimes import ArtifactError, BackendMissingError
from runtimes.formats import BY_SUFFIX, FORMATS
from runtimes.installation import absent
from runtimes.ov import weights_path

PYTORCH, FOLDED, COMPILED = "PyTorch", "PyTorch folded", "PyTorch compiled"
FORMS: dict[str, dict[str, object]] = {
    PYTORCH: {"form": "unfolded"},
    FOLDED: {"form": "folded"},
    COMPILED: {"form": "folded", "compile": True},
}
Option = object  # str, int, bool or a list of strings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """Something to measure, and how to open it."""

    name: str
    """Its name in the report."""
    kind: str
    """"artifact", "pytorch" or "peer"."""
    format: str
    """Name of the file format, or the form of the PyTorch network."""
    opener: str
    """The function that opens it, as "module:callable"; it is called with `path` and `options`."""
    path: str
    """Path of the file."""
    options: dict[str, Option] = dataclasses.field(default_factory=dict)
    """Keyword arguments of the opener."""
    takes_threads: bool = True
    """Whether the opener also takes `threads`."""
    takes_shape: bool = False
    """Whether the opener also takes `shape`."""
    asked_for: bool = True
    """Whether the user named it; the command then fails if it cannot be measured."""


def find_subjects(given: Sequence[str]) -> tuple[list[Subject], list[NotRun]]:
    """Find the artifacts that the command line names as FILE, FILE@option=value,option=value or FOLDER.

    Returns the subjects, and the artifacts of folders that cannot run here. A subject is named after its file; if two
    files have the same name, it is named after its path.

    Errors: ArtifactError when a path does not exist or is no artifact, when a folder has none, when an option has
    another form, or when a subject is named twice.
    """
    found: list[Subject] = []
    missing: list[NotRun] = []
    for text in given:
        if Path(text).is_dir() and Path(text).suffix.lower() not in BY_SUFFIX:
            inside, absent = _in_folder(Path(text))
            found += inside
            missing += absent
        else:
            found.append(parse_subject(text))
    names = [subject.name for subject in found]
    found = [
        dataclasses.replace(subject, name=subject.name.replace(Path(subject.path).name, subject.path, 1))
        if names.count(subject.name) > 1
        else subject
        for subject in found
    ]
    require_different(found)
    return found, missing


def require_different(subjects: Sequence[Subject]) -> None:
    """Check that all names of subjects are different; ArtifactError names one that is not."""
    names = [subject.name for subject in subjects]
    for name in names:
        if names.count(name) > 1:
            raise ArtifactError(f"{name} should be named once but is named twice; leave one out")


def parse_subject(text: str) -> Subject:
    """Parse FILE or FILE@option=value,option=value, with the options of `runtimes.load`.

    Errors: ArtifactError, as for `find_subjects`.
    """
    name, _, tail = text.rpartition("@")
    file, options = (name, _options(tail, text)) if name and "=" in tail else (text, {})
    path = Path(file)
    form = BY_SUFFIX.get(path.suffix.lower())
    if form is None:
        raise ArtifactError(
            f"{file} should be an artifact, one of {', '.join(BY_SUFFIX)}, or a folder of them but is neither; "
            "check the name"
        )
    if not path.exists():
        raise ArtifactError(f"{path} should be an artifact but does not exist; check the name, or export it")
    label = path.name if file == text else f"{path.name}@{tail}"
    takes_threads = "threads" in form.wrapper().__init__.__kwdefaults__
    return Subject(
        name=label,
        kind="artifact",
        format=form.name,
        opener="runtimes:load",
        path=file,
        options=options,
        takes_threads=takes_threads,
    )


def in_bf16(subject: Subject) -> Subject:
    """Return a subject for the same OpenVINO file with bfloat16 arithmetic."""
    return dataclasses.replace(subject, name=f"{subject.name}@precision=bf16", options={"precision": "bf16"})


def pytorch_subjects(checkpoint: str, opener: str) -> list[Subject]:
    """Return the PyTorch subjects of a checkpoint: as trained, folded, and folded and compiled.

    opener: the runtime that opens a checkpoint, as "module:callable"; the caller names it, since this package must not
        import it.

    Errors: BackendMissingError when torch or another library that it needs is missing.
    """
    reason = absent(("torch", "safetensors", "skimage"))
    if reason is not None:
        raise BackendMissingError(f"--pytorch should run with PyTorch but cannot; it {reason}")
    return [
        Subject(
            name=f"{Path(checkpoint).stem}, {title}",
            kind="pytorch",
            format=title,
            opener=opener,
            path=checkpoint,
            options=options,
            asked_for=title != COMPILED,
        )
        for title, options in FORMS.items()
    ]


def peer_subject(path: Path) -> Subject:
    """Return the subject for another network's ONNX file; ArtifactError when it does not exist."""
    if not path.is_file():
        raise ArtifactError(f"--peer should be an ONNX file but {path} does not exist; check the name")
    return Subject(
        name=f"peer {path.name}",
        kind="peer",
        format="onnx",
        opener="benchmarks.peer:PeerRuntime",
        path=str(path),
        takes_shape=True,
    )


def files_of(path: Path) -> list[Path]:
    """List the files that an artifact needs to run: the file or the files of the package, and weights or a spec
    beside it.
    """
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    beside = {
        FORMATS["openvino"].suffix: weights_path(path),
        FORMATS["onnx"].suffix: path.with_name(f"{path.name}.data"),
        FORMATS["tensorrt"].suffix: path.with_name(f"{path.name}.json"),
    }.get(path.suffix.lower())
    return [path] + ([beside] if beside is not None and beside.is_file() else [])


def hash_files(files: Iterable[Path]) -> str:
    """Return the SHA-256 over the contents of the files, in sequence."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _in_folder(folder: Path) -> tuple[list[Subject], list[NotRun]]:
    """Return the artifacts of a folder that this machine can run, and those that it cannot."""
    found, missing = [], []
    for path in sorted(folder.iterdir()):
        form = BY_SUFFIX.get(path.suffix.lower())
        part_of_an_engine = path.name.endswith(".engine.onnx")  # the file that the engine was built from
        if form is None or path.name.startswith(".") or part_of_an_engine:
            continue
        reason = form.missing()
        if reason is None:
            found.append(dataclasses.replace(parse_subject(str(path)), asked_for=False))
        else:
            missing.append(NotRun(subject=path.name, reason=reason))
    if not found and not missing:
        raise ArtifactError(f"{folder} should hold artifacts ({', '.join(BY_SUFFIX)}) but holds none; export one")
    return found, missing


def _options(text: str, whole: str) -> dict[str, Option]:
    """Parse the options of a subject: "a=b,c=2" -> {"a": "b", "c": 2}. `whole` is the text for error messages."""
    options: dict[str, Option] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not (name and equals and value) or name in options:
            raise ArtifactError(
                f"{whole} should have the form FILE@option=value,option=value but has {part!r}; correct it"
            )
        if name == "threads":
            raise ArtifactError(f"{whole} should have no threads but has {part!r}; use --threads, which is for all")
        options[name] = _value(name, value)
    return options


def _value(name: str, text: str) -> Option:
    """Parse an option's value: a list of providers (joined by "+"), a number, true or false, or a text."""
    if name == "providers":
        return text.split("+")
    if text in {"true", "false"}:
        return text == "true"
    return int(text) if text.isdigit() and name != "device" else text
