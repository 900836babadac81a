"""A JSON object read field by field: known names, checked types, nothing left over."""

from __future__ import annotations

import json
import math
from typing import NoReturn, TypeGuard

from runtimes.errors import ArtifactError


def parse_object(text: str, what: str) -> Fields:
    """Parse `text` as one JSON object; `what` names it in error messages ("the spec").

    Errors: ArtifactError when the text is not JSON, holds NaN or Infinity, names a field twice, or is no object.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{what} should be a JSON object but does not parse ({error}); export it again") from error
    return Fields(value, what)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field is named twice")
    return fields


class Fields:
    """The fields of one JSON object; each reader takes one field out, `finish` refuses what is left.

    Every reader raises ArtifactError, naming the field, when it is missing or has another type.
    """

    def __init__(self, value: object, what: str) -> None:
        self._what = what
        if not isinstance(value, dict):
            raise ArtifactError(f"{what} should be a JSON object but is {_kind(value)}; export it again")
        self._left: dict[str, object] = dict(value)

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def any(self, name: str) -> object:
        """The field as parsed, of whatever type."""
        if name not in self._left:
            raise ArtifactError(f"{self._what} has no field {name!r}; export it again")
        return self._left.pop(name)

    def text(self, name: str) -> str:
        """A string."""
        value = self.any(name)
        return value if isinstance(value, str) else self._refuse(name, "a string", value)

    def flag(self, name: str) -> bool:
        """true or false."""
        value = self.any(name)
        return value if isinstance(value, bool) else self._refuse(name, "true or false", value)

    def integer(self, name: str) -> int:
        """A whole number, not below 0."""
        value = self.any(name)
        return value if _is_count(value) else self._refuse(name, "a whole number from 0", value)

    def number(self, name: str) -> float:
        """A finite number."""
        value = self.any(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300:
            return float(value)
        return self._refuse(name, "a finite number", value)

    def optional_number(self, name: str) -> float | None:
        """A finite number, or null."""
        if name in self._left and self._left[name] is None:
            del self._left[name]
            return None
        return self.number(name)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self.any(name)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        return self._refuse(name, "a list of strings", value)

    def text_map(self, name: str) -> dict[str, str]:
        """An object whose values are strings."""
        value = self.any(name)
        if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
            return dict(value)
        return self._refuse(name, "an object of strings", value)

    def triple(self, name: str) -> tuple[int, int, int]:
        """Three whole numbers."""
        value = self.any(name)
        return _triple(value) or self._refuse(name, "three whole numbers", value)

    def triples(self, name: str) -> tuple[tuple[int, int, int], ...]:
        """A list of triples of whole numbers."""
        value = self.any(name)
        if isinstance(value, list):
            triples = tuple(_triple(item) for item in value)
            found = tuple(triple for triple in triples if triple is not None)
            if len(found) == len(triples):
                return found
        return self._refuse(name, "a list of triples of whole numbers", value)

    def finish(self) -> None:
        """Refuse the object if a field was never read."""
        if self._left:
            names = ", ".join(repr(name) for name in self._left)
            raise ArtifactError(f"{self._what} has unknown fields ({names}); upgrade bncagan or export it again")

    def _refuse(self, name: str, expected: str, value: object) -> NoReturn:
        raise ArtifactError(
            f"{self._what}'s field {name!r} should be {expected} but is {_kind(value)}; export it again"
        )


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _triple(value: object) -> tuple[int, int, int] | None:
    if isinstance(value, list) and len(value) == 3 and all(_is_count(item) for item in value):
        return value[0], value[1], value[2]
    return None


def _kind(value: object) -> str:
    """What a JSON value is, with the value itself when it is short."""
    shown = repr(value)
    if value is None or isinstance(value, bool):
        return str(json.dumps(value))
    if isinstance(value, float) and not math.isfinite(value):
        return "out of range"
    return shown if len(shown) <= 40 else f"a {type(value).__name__}"
