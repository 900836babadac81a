"""Kinds of JSON fields that a report has and an artifact's spec has not; errors as those of `runtimes.schema`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from runtimes import ArtifactError
from runtimes.schema import Fields

T = TypeVar("T")


def optional_integer(fields: Fields, name: str) -> int | None:
    """A whole number, not below 0, or null."""
    number = fields.optional_number(name)
    if number is not None and (number < 0 or number != int(number)):
        raise ArtifactError(f"the report's field {name!r} should be a whole number from 0 but is {number}; measure it")
    return None if number is None else int(number)


def optional_text(fields: Fields, name: str) -> str | None:
    """A string, or null."""
    value = fields.any(name)
    if value is None or isinstance(value, str):
        return value
    raise ArtifactError(f"the report's field {name!r} should be a string or null but is {value!r:.40}; measure again")


def counts(fields: Fields, name: str) -> tuple[int, ...]:
    """A list of whole numbers, of either sign: what they may be is for whoever keeps them to say."""
    value = fields.any(name)
    if isinstance(value, list) and all(isinstance(item, int) and not isinstance(item, bool) for item in value):
        return tuple(value)
    raise ArtifactError(f"the report's field {name!r} should be a list of whole numbers but is not; measure again")


def objects(fields: Fields, name: str, read: Callable[[Fields], T]) -> tuple[T, ...]:
    """A list of objects, each made of its fields by `read`."""
    value = fields.any(name)
    if not isinstance(value, list):
        raise ArtifactError(f"the report's field {name!r} should be a list of objects but is not; measure again")
    return tuple(read(Fields(item, f"{name}[{index}] of the report")) for index, item in enumerate(value))
