"""A reader of JSON into dataclasses, checked by the types of their fields, that keeps old files readable.

A field that is added later needs a default, and the minor version goes up. Older files lack that field, and older
programs ignore it. A change that an older program would misunderstand raises the major version.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, NoReturn, TypeGuard, TypeVar, Union, get_args, get_origin, get_type_hints

from runtimes.errors import ArtifactError, UserError

T = TypeVar("T")
LOG = logging.getLogger("runtimes")  # without a handler, logging prints a warning as one line on stderr
MEND = "export it again"


class Version(NamedTuple):
    """Version MAJOR.MINOR of a file's format. Versions compare as pairs of numbers."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


def read_version(value: object, known: Version, what: str, *, mend: str = MEND) -> Version:
    """Parse the version of a file: "1.1", or the number 1 for 1.0.

    known: the version that this program writes.
    what, mend: the subject and the advice of an error sentence.

    Errors: ArtifactError when the value is no version, or when its major version is not the known one.
    """
    match = re.fullmatch(r"(\d{1,9})\.(\d{1,9})", value) if isinstance(value, str) else None
    if match is not None:
        found = Version(int(match[1]), int(match[2]))
    elif _is_count(value):
        found = Version(value, 0)
    else:
        raise ArtifactError(f'{what} should have a version such as "{known}" but has {_shown(value)}; {mend}')
    if found.major != known.major:
        raise ArtifactError(
            f"{what} should be of version {known.major} but is of version {found}; "
            + ("upgrade bncagan" if found > known else mend)
        )
    return found


def parse_object(text: str, what: str, *, mend: str = MEND) -> dict[str, Any]:
    """Parse a text that is one JSON object.

    what, mend: the subject ("the spec") and the advice of an error sentence.

    Errors: ArtifactError when the text is not JSON, has NaN or Infinity, names a field twice, or is no object.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{what} should be a JSON object but does not parse ({error}); {mend}") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{what} should be a JSON object but is {_shown(value)}; {mend}")
    return value


def build(kind: type[T], fields: object, what: str, *, mend: str = MEND, newer: Version | None = None) -> T:
    """Make a dataclass from a parsed JSON object, whose values must have the annotated types.

    Annotations may be str, bool, int, float, Path, Literal of strings, X | None, tuple[X, ...], tuple[X, Y],
    dict[str, X] and dataclasses. An int must not be negative, and a float must be finite. A field may be missing if it
    has a default. A value that is already an instance of the annotated class is kept.

    what, mend: the subject (the file) and the advice of an error sentence.
    newer: the file's version if it is newer than the program's, else None. Unknown fields of a newer file are ignored,
    and one line on stderr names them; in other files they are errors.

    Errors: ArtifactError with the path of the field; errors of the dataclass itself, with the name of the file before
    them.
    """
    reader = _Reader(lenient=newer is not None)
    try:
        made: T = reader.instance(kind, fields, "")
    except _FieldError as error:
        raise ArtifactError(f"{what}{error}; {mend}") from error
    except UserError as error:
        raise type(error)(f"{what}: {error}") from error
    if newer is not None and reader.unknown:
        left_out = dict.fromkeys(re.sub(r"\[\d+\]", "[]", path) for path in reader.unknown)
        say_once(
            f"{what} is of version {newer}, which is newer than this program; unknown fields are ignored: "
            f"{', '.join(left_out)}"
        )
    return made


class _FieldError(Exception):
    """An error in a field. Its text is the middle of a sentence, between the name of the file and the advice."""


class _Reader:
    """The reader of one file; `unknown` collects the paths of the ignored fields."""

    def __init__(self, *, lenient: bool) -> None:
        self._lenient = lenient
        self.unknown: list[str] = []

    def instance(self, kind: Any, value: object, place: str) -> Any:
        """Read an instance of a dataclass. `place` is the path of the value in the file."""
        if not isinstance(value, dict):
            raise _wrong(place, "an object", value)
        known = {field.name: field for field in dataclasses.fields(kind)}
        before = f"{place}." if place else ""
        unknown = [before + name for name in value if name not in known]
        if unknown and not self._lenient:
            raise _FieldError(f" should have only the fields of its version but has {', '.join(unknown)}")
        self.unknown += unknown
        for name, field in known.items():
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if required and name not in value:
                raise _FieldError(f" should have the field {before}{name} but lacks it")
        types = _types(kind)
        return kind(**{name: self.value(types[name], value[name], before + name) for name in known if name in value})

    def value(self, kind: Any, value: Any, place: str) -> Any:
        """Read a value of any annotated type."""
        origin, inside = get_origin(kind), get_args(kind)
        if origin in {Union, UnionType}:
            (kind,) = set(inside) - {NoneType}
            return None if value is None else self.value(kind, value, place)
        if origin is tuple:
            return self._tuple(inside, value, place)
        if origin is Literal:
            if value not in inside:
                raise _wrong(place, " or ".join(inside), value)
            return value
        if origin is dict:
            if not isinstance(value, dict):
                raise _wrong(place, "an object", value)
            return {name: self.value(inside[1], item, f"{place}.{name}") for name, item in value.items()}
        if kind in SCALARS:
            expected, fits = SCALARS[kind]
            if not fits(value):
                raise _wrong(place, expected, value)
            return kind(value)
        return value if isinstance(value, kind) else self.instance(kind, value, place)

    def _tuple(self, inside: tuple[Any, ...], value: object, place: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _wrong(place, "a list", value)
        kinds = inside[:1] * len(value) if inside[1:] == (...,) else inside
        if len(kinds) != len(value):
            raise _wrong(place, f"a list of {len(kinds)}", value)
        items = enumerate(zip(kinds, value, strict=True))
        return tuple(self.value(kind, item, f"{place}[{index}]") for index, (kind, item) in items)


def _wrong(place: str, expected: str, value: object) -> _FieldError:
    where = f": the field {place}" if place else ""
    return _FieldError(f"{where} should be {expected} but is {_shown(value)}")


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


SCALARS: dict[type, tuple[str, Callable[[object], bool]]] = {
    str: ("a string", lambda value: isinstance(value, str)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number from 0", _is_count),
    float: ("a finite number", _is_number),
    Path: ("a path", lambda value: isinstance(value, str)),
}


@functools.cache
def _types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


@functools.cache
def say_once(sentence: str) -> None:
    """Print a sentence on stderr, unless this process printed it before."""
    LOG.warning(sentence)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field is named twice")
    return fields


def _shown(value: object) -> str:
    """Return a JSON value as text; a long one is cut, or replaced by its kind."""
    text = json.dumps(value)
    if text in {"Infinity", "-Infinity"}:
        return "out of range"
    if len(text) <= 40:
        return text
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else f"{text[:36]}..."
