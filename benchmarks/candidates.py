"""What is measured: artifacts by name or folder, the network in PyTorch, other networks' ONNX files."""

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
Option = object  # str, int, bool, or a list of strings: what JSON has


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A way to open something that infers.

    name: in the report. kind, format: as in its row. opener: "module:callable", called with `path` and `options`, and
    with `threads` and `shape` where it takes them. asked_for: by its own name, so that leaving it out is a failure.
    """

    name: str
    kind: str
    format: str
    opener: str
    path: str
    options: dict[str, Option] = dataclasses.field(default_factory=dict)
    takes_threads: bool = True
    takes_shape: bool = False
    asked_for: bool = True


def find_subjects(given: Sequence[str]) -> tuple[list[Subject], list[NotRun]]:
    """Artifacts of the command line, FILE, FILE@option=value,option=value or FOLDER, and what cannot run of a folder.

    A subject's name is that of its file, with the folder where two files have the same.

    Errors: ArtifactError when a file or folder is not there or is no artifact, a folder holds none, an option is not
    written so, or the same thing is asked for twice.
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
    """Do nothing if no two subjects have the same name; ArtifactError naming it."""
    names = [subject.name for subject in subjects]
    for name in names:
        if names.count(name) > 1:
            raise ArtifactError(f"each subject should be named once but {name} is named twice; drop one")


def parse_subject(text: str) -> Subject:
    """FILE, or FILE@option=value,option=value with options of `runtimes.load`; ArtifactError as `find_subjects`."""
    name, _, tail = text.rpartition("@")
    file, options = (name, _options(tail, text)) if name and "=" in tail else (text, {})
    path = Path(file)
    form = BY_SUFFIX.get(path.suffix.lower())
    if form is None:
        raise ArtifactError(
            f"{file} should be an artifact, one of {', '.join(BY_SUFFIX)}, or a folder of them; check the name"
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
    """The same OpenVINO file with bfloat16 arithmetic."""
    return dataclasses.replace(subject, name=f"{subject.name}@precision=bf16", options={"precision": "bf16"})


def pytorch_subjects(checkpoint: str, opener: str) -> list[Subject]:
    """The network of a checkpoint in PyTorch: as trained, folded, and folded and compiled.

    opener: "module:callable" of the runtime that takes a checkpoint, which is not this package's to know.

    Errors: BackendMissingError without torch or what else that takes.
    """
    reason = absent(("torch", "safetensors", "skimage"))
    if reason is not None:
        raise BackendMissingError(f"--pytorch {reason}")
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
    """Another network's ONNX file; ArtifactError when it is not there."""
    if not path.is_file():
        raise ArtifactError(f"{path} should be an ONNX file but does not exist; check --peer")
    return Subject(
        name=f"peer {path.name}",
        kind="peer",
        format="onnx",
        opener="benchmarks.peer:PeerRuntime",
        path=str(path),
        takes_shape=True,
    )


def files_of(path: Path) -> list[Path]:
    """The files that an artifact needs to run: itself or all inside it; weights or a spec that lie beside it."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    beside = {
        FORMATS["openvino"].suffix: weights_path(path),
        FORMATS["onnx"].suffix: path.with_name(f"{path.name}.data"),
        FORMATS["tensorrt"].suffix: path.with_name(f"{path.name}.json"),
    }.get(path.suffix.lower())
    return [path] + ([beside] if beside is not None and beside.is_file() else [])


def hash_files(files: Iterable[Path]) -> str:
    """SHA-256 over the files' contents, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _in_folder(folder: Path) -> tuple[list[Subject], list[NotRun]]:
    """The artifacts of a folder that this machine can run, and the others."""
    found, missing = [], []
    for path in sorted(folder.iterdir()):
        form = BY_SUFFIX.get(path.suffix.lower())
        part_of_an_engine = path.name.endswith(".engine.onnx")  # what it was built from
        if form is None or path.name.startswith(".") or part_of_an_engine:
            continue
        reason = form.missing()
        if reason is None:
            found.append(dataclasses.replace(parse_subject(str(path)), asked_for=False))
        else:
            missing.append(NotRun(subject=path.name, reason=reason))
    if not found and not missing:
        raise ArtifactError(f"{folder} should hold artifacts ({', '.join(BY_SUFFIX)}) but holds none; export some")
    return found, missing


def _options(text: str, whole: str) -> dict[str, Option]:
    """ "a=b,c=2" -> {"a": "b", "c": 2}."""
    options: dict[str, Option] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not (name and equals and value) or name in options:
            raise ArtifactError(f"{whole} should be written FILE@option=value,option=value; mend {part!r}")
        if name == "threads":
            raise ArtifactError(f"{whole} should leave the threads to --threads, which counts for all; drop {part!r}")
        options[name] = _value(name, value)
    return options


def _value(name: str, text: str) -> Option:
    """An option's value: a list of providers (joined by "+"), a number, true or false, or the text."""
    if name == "providers":
        return text.split("+")
    if text in {"true", "false"}:
        return text == "true"
    return int(text) if text.isdigit() and name != "device" else text
