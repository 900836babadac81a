"""Arguments that do not fit a command: the box in which tyro describes them, turned into one sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

# What tyro prints is all that it offers: no public interface of 1.0 returns an error or replaces its printing
COLOUR = re.compile("\x1b\\[[0-9;]*m")
RULE = re.compile("[─-]{3,}")
KINDS = {"INT": "a whole number", "FLOAT": "a number"}
NEXT = re.compile(r"Expected one of \{(.*)\}\.")
CHOICE = re.compile(r"invalid choice (.*) for argument '(.*)'\. Expected one of \((.*?),?\)\.")
NO_VALUE = re.compile(r"Missing value for argument '\(?'?(-*)([^']*)'.*\. Expected (\d+) values\.")
VALUE = re.compile(r"Error parsing ([^:]*): (.*?)\.?( Got errors: .*)?")

Section = Sequence[str]  # lines


def usage_error(box: str, arguments: Sequence[str]) -> str:
    """Return one sentence for the box that tyro printed about the arguments of a command."""
    problem, *others = _sections(box)
    told = _joined(problem)
    if told.startswith("Unrecognized options: "):
        return _unknown(told.partition(": ")[2], others, arguments)
    if told.startswith("Missing from "):
        return _missing(problem, others)
    if match := NEXT.fullmatch(told):
        which = f"the command {' '.join(arguments)}".rstrip()
        return f"{which} should be followed by one of {match[1]} but ends there; add one of them"
    return _wrong_value(told, others) or f"the arguments should fit the command but do not ({told}); see --help"


def _sections(box: str) -> list[list[str]]:
    """Return the lines between the rules of a box without its frame, which is blank where the output is ASCII."""
    sections: list[list[str]] = [[]]
    for line in box.strip("\n").splitlines()[1:]:
        inner = COLOUR.sub("", line)[2:].rstrip("│╯ ")
        if RULE.fullmatch(inner):
            sections.append([])
        elif inner:
            sections[-1].append(inner)
    return [section for section in sections if section] or [[box]]


def _joined(lines: Section) -> str:
    return " ".join(" ".join(lines).split())


def _unknown(told: str, others: Sequence[Section], arguments: Sequence[str]) -> str:
    """Name the first option that the command does not have, or else the first word, and what was probably meant."""
    squeezed = told.replace(" ", "")  # tyro prints a long word on several lines
    first = max((word for word in arguments if squeezed.startswith(word.replace(" ", ""))), key=len, default=told)
    available = re.match("Available subcommands: (.*)", _joined(others[0]) if others else "")
    if available is not None:
        near = difflib.get_close_matches(first, available[1].split(", "), n=1)
        return f"{first} should be one of {available[1]} but is none of them; {_mend(near)}"
    option = next((word for word in (first, *told.split(", ")) if word.startswith("-")), None)
    if option is None:
        return f"the command should have no more arguments but has {first}; leave it out, or see --help"
    near = difflib.get_close_matches(option, _similar(others, arguments), n=1)
    return f"{option} should be an option of this command but is none; {_mend(near)}"


def _mend(near: Sequence[str]) -> str:
    return f"did you mean {near[0]}?" if near else "see --help"


def _similar(others: Sequence[Section], arguments: Sequence[str]) -> list[str]:
    """Return the options that tyro offers instead, if the typed command has them."""
    found, name = [], ""
    for line in (line.strip() for lines in others for line in lines):
        if line.startswith("--"):
            name = line.split()[0]
        place = re.fullmatch(r"in \S+ (.*) ?--help", line)
        if name and place and place[1].split() == list(arguments[: len(place[1].split())]):
            found.append(name)
    return found


def _missing(problem: Section, others: Sequence[Section]) -> str:
    """Name what a command must be given, and what it was perhaps given instead."""
    depth = min((_indent(line) for line in problem if _indent(line)), default=0)
    names = [line.strip() for line in problem if _indent(line) == depth]
    which = problem[0].removeprefix("Missing from ").rstrip(": ")
    unknown = next((_joined(lines[1:]) for lines in others if lines[0].startswith("Unrecognized options")), "")
    but = f"is given {unknown}, which it does not know" if unknown else "is not"
    return f"{which} should be given {' and '.join(names)} but {but}; see its --help"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _wrong_value(told: str, others: Sequence[Section]) -> str | None:
    """Name an option with a value that it does not take, or with none."""
    if match := CHOICE.fullmatch(told):
        return f"{match[2]} should be one of {match[3].replace(chr(39), '')} but is {match[1]}; choose one of them"
    if match := NO_VALUE.fullmatch(told):
        if not match[1]:
            return f"the command should be given {match[2].upper()} but is not; see --help"
        values = "a value" if match[3] == "1" else f"{match[3]} values"
        return f"{match[1]}{match[2]} should be followed by {values} but is not; add what is missing"
    if match := VALUE.fullmatch(told):
        kind = re.search(rf"{re.escape(match[1])} (\S+)", " ".join(map(_joined, others)))
        given = re.search("'.*'", match[2])
        wanted = "a value that it takes" if kind is None else KINDS.get(kind[1], kind[1])
        return f"{match[1]} should be {wanted} but is {given[0] if given else match[2]}; correct it, or see --help"
    return None
