"""Files that hold a table and its notes: Markdown, CSV and HTML."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Sequence

from benchmarks.tables import markdown_table

# Takes the columns, the rows and the notes; returns the text of the file.
Writer = Callable[[Sequence[str], Sequence[Sequence[str]], Sequence[str]], str]


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    return markdown_table(columns, rows) + "\n" + "".join(f"- {note}\n" for note in notes)


def _csv(columns: Sequence[str], rows: Sequence[Sequence[str]], _: Sequence[str]) -> str:
    """Write the table without the notes, which would break programs that read it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def _html(columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """Write a page that needs no other file."""

    def line(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>\n"

    body = "".join(line(cells, "td") for cells in rows)
    remarks = "".join(f"<li>{html.escape(note)}</li>\n" for note in notes)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Latency</title>\n'
        "<style>body{font:14px sans-serif}td,th{padding:3px 9px;text-align:right;border-bottom:1px solid #ddd}"
        "td:first-child,th:first-child{text-align:left}</style>\n"
        f"<table>\n{line(columns, 'th')}{body}</table>\n<ul>\n{remarks}</ul>\n</html>\n"
    )


WRITERS: dict[str, Writer] = {
    ".md": _markdown,
    ".csv": _csv,
    ".html": _html,
}
