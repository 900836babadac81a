"""ablate: repeat the paper's Table 2; the result is a table, a Markdown file and a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.table import Table

from benchmarks.tables import markdown_table
from bncagan.cli.options import method_of
from bncagan.config import TrainConfig
from runtimes.command import Flag
from runtimes.console import terminal
from runtimes.files import replacing, write_text

SCORES = {"psnr": ("PSNR dB", 3), "ssim": ("SSIM", 4)}  # heading and number of decimals by name


@dataclass(frozen=True)
class Ablate:
    """Train the rows of the paper's Table 2 with the same options and compare them with the full model.

    The options describe the full model. Every run is written to OUT/ROW-seedK, the result to ablation.json, ablation.md
    and ablation.png. Networks are scored on DATA/test, or on DATA/val if there is no test. After an interruption, the
    same command continues. With other rows or seeds, the result has those of earlier calls, too.
    """

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    seeds: tuple[int, ...] = (0, 1)
    """Seeds; every row is trained once with each. Intervals are wide with only two."""
    only: tuple[str, ...] = ()
    """Rows to train besides full: without-aac, without-bnm, without-cam, without-idt, without-cla, without-idt-cla;
    if not given, all."""
    protocol: Literal["paper", "native"] = "native"
    """paper: 512 x 512 px, without a border of 4 px, so that sizes may differ; native: each picture at its own size."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Train the missing runs, score and compare all, and write the result."""
        from bncagan.ablation import ablate

        report = ablate(self.config, self.seeds, self.only, self.protocol)
        out = self.config.out
        write_text(out / "ablation.md", markdown(report))
        written = ["ablation.json", "ablation.md"]
        if any("to_full" in row["psnr"] for row in report["rows"].values()):
            write_picture(out / "ablation.png", report)
            written.append("ablation.png")
        for score in SCORES:
            terminal().print(_table(report, score))
        terminal().print(text_below(report))
        print(f"written to {out}: {' '.join(written)}")
        return 0


def lines_of(report: dict[str, Any], score: str) -> list[list[str]]:
    """The heading, and a line per row: mean, mean of each seed, difference to the full model, interval, verdict."""
    heading, decimals = SCORES[score]
    seeds = report["budget"]["seeds"]
    lines = [
        ["method", heading, *(f"seed {seed}" for seed in seeds), "to full", f"{_share(report)} interval", "than full"]
    ]
    for row in report["rows"].values():
        summary = row[score]
        means = [summary["mean"], *(summary["seeds"].get(str(seed)) for seed in seeds)]
        line = [row["title"], *("" if mean is None else f"{mean:.{decimals}f}" for mean in means)]
        to_full = summary.get("to_full")
        if to_full is None:
            lines.append([*line, "", "", ""])
            continue
        difference, low, high = (f"{to_full[name]:+.{decimals}f}" for name in ("difference", "low", "high"))
        lines.append([*line, difference, f"{low} to {high}", to_full["verdict"]])
    return lines


def _share(report: dict[str, Any]) -> str:
    return f"{100 * report['interval']['share']:g} %"


def text_below(report: dict[str, Any]) -> str:
    """Explains what was trained and scored, and what the intervals mean."""
    from bncagan.evaluation.protocols import ABOUT

    budget, interval = report["budget"], report["interval"]
    seeds = ", ".join(map(str, budget["seeds"]))
    count = len(SCORES) * (len(report["rows"]) - 1)
    counts = {len(row["psnr"]["seeds"]) for row in report["rows"].values()}
    few = {
        1: " With one seed, they do not cover the differences between seeds.",
        2: " With two seeds, they are wide.",
    }.get(min(counts), "")
    if len(counts) > 1:
        few += " A row is compared with the full model on the seeds that both have."
    protocol = report.get("protocol", "native")  # version 0.1 had no other
    identical = report.get("identical", [])
    left_out = f" Left out, because a run made exactly the reference: {', '.join(identical)}." if identical else ""
    runs = (
        f"Every run: {budget['steps']} steps, width {budget['width']}, size {budget['size']} px (crops of "
        f"{budget['crop']}), batch {budget['batch']}; seeds: {seeds}. Scores: {budget['pictures']} pictures of "
        f"{report['scored_on']}, enhanced by the final averaged generator; {protocol} protocol: {ABOUT[protocol]}."
        f"{left_out}"
    )
    if not count:
        return runs
    return (
        f"{runs}\nTo full: the row minus the full model, paired by seed and picture; "
        f"{method_of(interval)} intervals over seeds and pictures.{few} Better or worse: the interval excludes 0; "
        f"it is not corrected for the number of comparisons, {count}."
    )


def markdown(report: dict[str, Any]) -> str:
    """The text of ablation.md: a table for each score, and the explanation."""
    parts = ["# Ablation: the rows of Table 2"]
    for score in SCORES:
        heading, *lines = lines_of(report, score)
        parts.append(markdown_table(heading, lines, last="---").rstrip("\n"))
    return "\n\n".join([*parts, text_below(report).replace("\n", "\n\n")]) + "\n"


def _table(report: dict[str, Any], score: str) -> Table:
    heading, *lines = lines_of(report, score)
    table = Table()
    for name in heading:
        table.add_column(name, justify="left" if name in {heading[0], heading[-1]} else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table


def write_picture(path: Path, report: dict[str, Any]) -> None:
    """Draw the differences to the full model with their intervals and a small dot per seed; PSNR left, SSIM right."""
    from matplotlib.figure import Figure

    rows = [row for row in report["rows"].values() if "to_full" in row["psnr"]]
    full = report["rows"]["full"]
    figure = Figure(figsize=(11, 1.7 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots(1, len(SCORES), sharey=True)
    for axis, (score, (heading, _)) in zip(axes, SCORES.items(), strict=True):
        axis.axvline(0, color="black", linewidth=0.8)
        for place, row in enumerate(rows):
            to_full = row[score]["to_full"]
            colour = {"better": "tab:blue", "worse": "tab:orange"}.get(to_full["verdict"], "tab:gray")
            axis.plot([to_full["low"], to_full["high"]], [place, place], "-|", color=colour, markersize=9)
            axis.plot(to_full["difference"], place, "o", color=colour, markersize=4)
            seeds = full[score]["seeds"]
            apart = [mean - seeds[seed] for seed, mean in row[score]["seeds"].items() if seed in seeds]
            axis.plot(apart, [place + 0.24] * len(apart), ".", color=colour, markersize=4)
        axis.set_xlabel(f"{heading}, row minus full model")
        axis.locator_params(axis="x", nbins=6)
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(
        range(len(rows)), [row["title"].replace("L_idt", "$L_{idt}$").replace("L_cla", "$L_{cla}$") for row in rows]
    )
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    budget = report["budget"]
    figure.suptitle(
        f"{_share(report)} intervals; {budget['steps']} steps, width {budget['width']}, "
        f"{budget['size']} px, batch {budget['batch']}, {len(budget['seeds'])} seeds (small dots), "
        f"{budget['pictures']} pictures of {report['scored_on']}\n"
        "blue: better than the full model, orange: worse, grey: not distinguished",
        fontsize=10,
    )
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
