"""The reader of JSON: exact types, nothing unknown in the same version, and files of other versions."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any, Literal

import pytest

from runtimes import ArtifactError, Version
from runtimes.errors import InputError
from runtimes.schema import build, parse_object, read_version

KNOWN = Version(1, 1)


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    weight: float

    def __post_init__(self) -> None:
        if self.weight > 100:
            raise InputError("a part should weigh 100 at most")


@dataclasses.dataclass(frozen=True)
class Whole:
    count: int
    sound: bool
    size: tuple[int, int]
    parts: tuple[Part, ...]
    best: Part | None
    limit: float | None
    words: dict[str, str]
    added: str = "later"
    place: Path | None = None
    kind: Literal["one", "two"] = "one"


FIELDS: dict[str, Any] = {
    "count": 3,
    "sound": True,
    "size": [4, 5],
    "parts": [{"name": "a", "weight": 1}, {"name": "b", "weight": 2.5}],
    "best": None,
    "limit": 0.5,
    "words": {"k": "v"},
}
WHOLE = Whole(3, True, (4, 5), (Part("a", 1.0), Part("b", 2.5)), None, 0.5, {"k": "v"})


def test_an_object_becomes_its_dataclass() -> None:
    made = build(Whole, FIELDS, "the file")
    assert made == WHOLE
    assert type(made.parts[0].weight) is float
    assert build(Whole, FIELDS | {"best": FIELDS["parts"][0], "added": "x"}, "the file") == dataclasses.replace(
        WHOLE, best=Part("a", 1.0), added="x"
    )
    there = build(Whole, FIELDS | {"place": "a/b", "kind": "two"}, "the file")
    assert (there.place, there.kind) == (Path("a/b"), "two")
    assert build(Whole, FIELDS | {"best": Part("c", 1)}, "the file").best == Part("c", 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": True}, "field count should be a whole number from 0 but is true"),
        ({"count": 3.0}, "field count should be a whole number from 0 but is 3.0"),
        ({"count": -1}, "field count should be a whole number from 0 but is -1"),
        ({"count": "3"}, 'field count should be a whole number from 0 but is "3"'),
        ({"count": None}, "field count should be a whole number from 0 but is null"),
        ({"count": 2**53}, "field count should be a whole number from 0"),
        ({"sound": 1}, "field sound should be true or false but is 1"),
        ({"size": [4]}, "field size should be a list of 2 but is [4]"),
        ({"size": [4, True]}, "field size[1] should be a whole number from 0 but is true"),
        ({"parts": {}}, "field parts should be a list but is {}"),
        ({"parts": [3]}, "field parts[0] should be an object but is 3"),
        ({"parts": [{"name": "a"}]}, "should have the field parts[0].weight but lacks it"),
        ({"parts": [{"name": "a", "weight": False}]}, "field parts[0].weight should be a finite number but is false"),
        ({"parts": [{"name": "a", "weight": 1, "x": 2}]}, "only the fields of its version but has parts[0].x"),
        ({"limit": float("inf")}, "field limit should be a finite number but is out of range"),
        ({"limit": 10**400}, "field limit should be a finite number"),
        ({"words": {"k": 1}}, "field words.k should be a string but is 1"),
        ({"words": ["k"]}, 'field words should be an object but is ["k"]'),
        ({"place": 3}, "field place should be a path but is 3"),
        ({"kind": "three"}, 'field kind should be one or two but is "three"'),
        ({"kind": ["one"]}, 'field kind should be one or two but is ["one"]'),
        ({"surprise": 1, "more": 2}, "only the fields of its version but has surprise, more"),
    ],
)
def test_what_is_not_as_annotated_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        build(Whole, FIELDS | change, "w.json", mend="write it again")
    assert said in str(caught.value)
    assert str(caught.value).startswith("w.json")
    assert str(caught.value).endswith("; write it again")


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_without_a_default_is_required(name: str) -> None:
    left = {key: value for key, value in FIELDS.items() if key != name}
    with pytest.raises(ArtifactError, match=f"w.json should have the field {name} but lacks it"):
        build(Whole, left, "w.json")


def test_the_errors_of_a_class_name_the_file() -> None:
    with pytest.raises(InputError, match=r"^w.json: a part should weigh 100 at most$"):
        build(Whole, FIELDS | {"best": {"name": "a", "weight": 101}}, "w.json")


def test_a_newer_minor_version_is_read_without_what_is_unknown(caplog: pytest.LogCaptureFixture) -> None:
    fields = FIELDS | {"surprise": 1, "best": {"name": "a", "weight": 1, "colour": [1]}}
    fields["parts"] = [part | {"colour": 1} for part in FIELDS["parts"]]
    with caplog.at_level(logging.WARNING):
        for _ in range(2):  # said once
            made = build(Whole, fields, "newer.json", newer=Version(1, 2))
    assert made == dataclasses.replace(WHOLE, best=Part("a", 1.0))
    (line,) = caplog.messages
    assert "newer.json is of version 1.2, which is newer than this program" in line
    assert line.endswith(": surprise, parts[].colour, best.colour")
    with pytest.raises(ArtifactError, match="field count"):  # types stay strict
        build(Whole, fields | {"count": "3"}, "newer.json", newer=Version(1, 2))


def test_nothing_is_said_of_a_newer_file_without_anything_unknown(caplog: pytest.LogCaptureFixture) -> None:
    assert build(Whole, FIELDS, "same.json", newer=Version(1, 2)) == WHOLE
    assert not caplog.messages


@pytest.mark.parametrize(
    ("value", "version"), [(1, (1, 0)), ("1.0", (1, 0)), ("1.1", (1, 1)), ("1.12", (1, 12)), ("1.2", (1, 2))]
)
def test_versions_of_the_same_major(value: object, version: tuple[int, int]) -> None:
    assert read_version(value, KNOWN, "w.json") == version


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (2, "w.json should be of version 1 but is of version 2.0; upgrade bncagan"),
        ("2.0", "w.json should be of version 1 but is of version 2.0; upgrade bncagan"),
        ("10.0", "is of version 10.0; upgrade bncagan"),
        (0, "is of version 0.0; write it again"),
        ("0.9", "is of version 0.9; write it again"),
        *((bad, 'should have a version such as "1.1" but has') for bad in ("1", "1.x", "1.1.1", 1.1, True, None, -1)),
    ],
)
def test_other_versions_are_refused(value: object, said: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        read_version(value, KNOWN, "w.json", mend="write it again")
    assert said in str(caught.value)


def test_versions_compare_by_number() -> None:
    assert Version(1, 9) < Version(1, 10) < Version(2, 0)
    assert str(Version(1, 10)) == "1.10"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"a": 1, "a": 2}', '{"a": {"b": 1, "b": 1}}', '{"a": NaN}']
)
def test_text_that_is_no_json_object(text: str) -> None:
    with pytest.raises(ArtifactError, match=r"^w\.json should be a JSON object but .*; export it again$"):
        parse_object(text, "w.json")
    assert parse_object(json.dumps(FIELDS), "w.json") == FIELDS
