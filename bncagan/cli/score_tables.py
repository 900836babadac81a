"""The tables of `evaluate`, on the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from benchmarks.tables import markdown_table
from bncagan.cli.options import method_of

# Heading and number format of each column, by the name of the score.
COLUMNS = {
    "psnr": ("PSNR dB", ".2f"),
    "best": ("best dB", ".2f"),
    "ssim": ("SSIM", ".3f"),
    "nima": ("NIMA", ".3f"),
    "ciede2000": ("CIEDE2000", ".2f"),
    "gain": ("gain dB", "+.2f"),
    "luma": ("mean luma", ".1f"),
    "rise": ("5 % quantile", "+.1f"),
}


def title_of(table: dict[str, Any]) -> str:
    """The title of a table: data set, group, protocol and number of pictures."""
    group = "" if table["group"] is None else f" {table['group']}"
    count = table["pictures"]
    return f"{table['data']}{group}, {table['protocol']} protocol, {count} picture{'s' if count > 1 else ''}"


def columns_of(table: dict[str, Any]) -> list[str]:
    """The names of the scores that at least one row has, in the order of `COLUMNS`."""
    return [name for name in COLUMNS if any(name in row for row in table["rows"].values())]


def cells_of(row: dict[str, Any], columns: Sequence[str], separator: str) -> list[str]:
    """Mean and interval for each column, with `separator` between them; empty where the row has no such score."""
    return ["" if name not in row else _cell(row[name], name, separator) for name in columns]


def _cell(estimate: dict[str, float | None], name: str, separator: str) -> str:
    if estimate["mean"] is None:
        return "identical" if name in {"psnr", "best"} else "undefined"
    numbers = (estimate[number] for number in ("mean", "low", "high"))
    mean, *ends = (format(number, COLUMNS[name][1]) for number in numbers if number is not None)
    interval = f"{separator}[{', '.join(ends)}]" if ends else ""
    identical = f"{separator}({estimate['identical']} identical)" if "identical" in estimate else ""
    return f"{mean}{interval}{identical}"


def text_below(summary: dict[str, Any]) -> str:
    """Explains the protocols, the intervals, the gain, exact matches and the table of photographs to leave alone."""
    interval = summary["interval"]
    told = [f"{name} protocol: {what}." for name, what in summary.get("protocols", {}).items()]
    told.append(
        f"In brackets: {100 * interval['share']:g} % {method_of(interval)} intervals of the means over the pictures of "
        "a table; gain: PSNR minus that of the input, picture by picture."
    )
    rows = [row for table in summary["tables"] for row in table["rows"].values()]
    if any("identical" in estimate for row in rows for estimate in row.values()):
        told.append("identical: so many pictures equal their references, and the numbers are those of the others.")
    if summary.get("keep") is not None:
        told.append(
            "keep: photographs to leave alone, with PSNR (at most 60 dB) and CIEDE2000 to themselves, and the rise of "
            "the 5 % quantile of luma, in codes."
        )
    return " ".join(told)


def markdown(summary: dict[str, Any]) -> str:
    """The text of table.md: the tables with their titles, and the explanation."""
    parts = ["# Scores"]
    for table in summary["tables"]:
        columns = columns_of(table)
        lines = [[name, *cells_of(row, columns, " ")] for name, row in table["rows"].items()]
        heading = ["method", *(COLUMNS[name][0] for name in columns)]
        parts.append(f"{title_of(table)}:\n\n{markdown_table(heading, lines)}".rstrip("\n"))
    return "\n\n".join([*parts, text_below(summary)]) + "\n"


def terminal_table(table: dict[str, Any]) -> Table:
    """A table for the terminal, with each interval below its mean."""
    columns = columns_of(table)
    drawn = Table(title=title_of(table), title_justify="left")
    drawn.add_column("method", overflow="fold")
    for name in columns:
        drawn.add_column(COLUMNS[name][0], justify="right", overflow="fold")
    for name, row in table["rows"].items():
        drawn.add_row(name, *cells_of(row, columns, "\n"))
    return drawn
