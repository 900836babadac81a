"""The project's pages, taken apart: fenced blocks, shell commands, prose, links, anchors."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "QUALITY.md")
}
CARDS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "bncagan" / "weights").glob("*.md"))
}
FENCE = re.compile(r"^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block, and the line of its page on which its text begins."""

    page: str
    line: int
    text: str


class ShellCommand(NamedTuple):
    """The words of one command of a page."""

    page: str
    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {shlex.join(self.words)}"


def blocks(language: str) -> list[Block]:
    """Every fenced block of that language."""
    return [
        Block(page, text[: match.start("text")].count("\n") + 1, match["text"])
        for page, text in PAGES.items()
        for match in FENCE.finditer(text)
        if match["language"] == language
    ]


def commands() -> list[ShellCommand]:
    """Every command of every `sh` block: comments left out, continued lines joined, `a && b` as two."""
    return [command for block in blocks("sh") for command in _commands_of(block)]


def _commands_of(block: Block) -> Iterator[ShellCommand]:
    whole, start = "", block.line
    for number, line in enumerate(block.text.splitlines(), block.line):
        start = start if whole else number
        whole += line
        if whole.endswith("\\"):
            whole = whole[:-1]
            continue
        lexer = shlex.shlex(whole, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, "&&"]:
            if word not in {"&&", ";"}:
                words.append(word)
            elif words:
                yield ShellCommand(block.page, start, tuple(words))
                words = []
        whole = ""


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", text)


def code_spans(text: str) -> list[str]:
    """What stands between backticks in the prose, each on one line."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(text))]


def links(text: str) -> list[str]:
    """The targets of links and pictures in the prose, code left out."""
    return [match["target"] for match in LINK.finditer(re.sub(r"`[^`]+`", "code", prose(text)))]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
