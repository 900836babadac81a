"""fold, verify and enhance: look at the folded network, check an artifact again, use it on photographs."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.progress import track
from rich.table import Table

from bncagan.cli.options import RuntimeOptions, summary_line
from runtimes.command import Flag
from runtimes.console import terminal
from runtimes.errors import InputError
from runtimes.formats import FORMATS
from runtimes.spec import parse_size

if TYPE_CHECKING:
    from runtimes import Runtime
    from runtimes.image import Pixels

OVERVIEW_ROWS = 6


@dataclass(frozen=True)
class Fold:
    """Show what each step of folding does: parameters, multiply-adds, peak memory of activations, float64 error."""

    checkpoint: str = "small"
    """Generator file, or the name of shipped weights."""
    shape: str = "512x512"
    """HEIGHTxWIDTH for which work and memory are counted."""
    report: Flag = False
    """Changes nothing, because this command always prints the report."""
    json: Flag = False
    """Print the report as JSON instead of a table."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Print the report."""
        from bncagan.network.checkpoint import load_generator
        from bncagan.network.cost import folding_report

        height, width = parse_size(self.shape)
        rows = folding_report(load_generator(self.checkpoint)[0], height, width)
        if self.json:
            print(json.dumps([{"rewrite": r.name, **r.cost._asdict(), "error": r.error} for r in rows], indent=2))
            return 0
        table = Table("rewrite", "parameters", "GMAC", "peak MiB", "float64 error", title=f"at {height} x {width}")
        for row in rows:
            work, memory = f"{row.cost.macs / 1e9:.2f}", f"{row.cost.peak_bytes / 2**20:.1f}"
            table.add_row(row.name, f"{row.cost.parameters:,}", work, memory, f"{row.error:.1e}")
        terminal().print(table)
        return 0


@dataclass(frozen=True, kw_only=True)
class Verify(RuntimeOptions):
    """Repeat an artifact's parity check on this device, without torch and without the checkpoint.

    Only a Core ML package needs torch if this is not a Mac: torch then evaluates it, and the verdict says `predicted`.
    """

    artifact: tyro.conf.Positional[Path]
    """Exported file, with its .golden.npz beside it."""
    json: Flag = False
    """Print spec, verdict and all scores as JSON."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Check and print; ParityError, which is exit code 1, if a picture differs too much."""
        from export.parity import check, report_table, require
        from runtimes.golden import Golden, golden_path

        runtime, label = self._open()
        with runtime:
            report = check(runtime, Golden.load(golden_path(self.artifact)), label=label)
            if self.json:
                spec = json.loads(runtime.spec.to_json())
                print(json.dumps({"artifact": str(self.artifact), "spec": spec, **report.to_dict()}, indent=2))
            else:
                terminal().print(report_table(report), summary_line(report.verdict), sep="\n")
        require(report, self.artifact)
        return 0

    def _open(self) -> tuple[Runtime, str]:
        """The runtime for the check, and the label of the verdict."""
        import runtimes

        if self.artifact.suffix.lower() == FORMATS["coreml"].suffix and sys.platform != "darwin":
            from export.mil import MilEvaluator

            if self.runtime_options():
                raise InputError(
                    f"{self.artifact} should be verified without options of its runtime, because only a Mac can run "
                    f"it, but has {', '.join(self.given_options())}; leave them out, or verify it on a Mac"
                )
            return MilEvaluator(self.artifact), "predicted"
        return runtimes.load(self.artifact, **self.runtime_options()), "measured"


@dataclass(frozen=True, kw_only=True)
class Enhance(RuntimeOptions):
    """Enhance photographs of any size with an exported artifact."""

    artifact: tyro.conf.Positional[Path]
    """Exported file."""
    photos: tyro.conf.Positional[tuple[Path, ...]]
    """Photographs, or folders of them."""
    out: Path
    """Folder for the results, which keep their names; created if needed."""
    before_after: Path | None = None
    """Also write this picture: the first six photographs, before and after side by side."""
    max_side: int = 1536
    """Longest side that the network sees, px; it sees larger photographs reduced, and its change is scaled up."""
    strength: float = 1.0
    """Share of the change: 0 gives back the photograph, 1 the network's result, 1.5 is the most."""
    exposure: float = 0.0
    """Stops by which the result is made brighter, -2 to 2."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Enhance and write; first decodes every photograph, so that nothing is written if one is bad."""
        import runtimes
        from runtimes.controls import Controls

        settings = dataclasses.asdict(Controls(self.strength, self.exposure))
        targets = self._targets()
        with runtimes.load(self.artifact, **self.runtime_options()) as runtime:
            console = terminal(stderr=True)
            hidden = not console.is_terminal
            for path in track(targets, "reading", console=console, disable=hidden):
                self._check(path, runtimes.read(path).pixels, runtime.spec.multiple)
            self.out.mkdir(parents=True, exist_ok=True)
            strips: list[Pixels] = []
            for path in track(targets, "enhancing", console=console, disable=hidden):
                photograph = runtimes.read(path)
                enhanced = runtime.enhance(photograph.pixels, max_side=self.max_side, **settings)
                runtimes.write(dataclasses.replace(photograph, pixels=enhanced), targets[path])
                print(targets[path])
                if self.before_after is not None and len(strips) < OVERVIEW_ROWS:
                    strips.append(before_after_strip(photograph.pixels, enhanced))
        if self.before_after is not None:
            write_overview(strips, self.before_after)
            print(self.before_after)
        return 0

    def _check(self, path: Path, pixels: Pixels, least: int) -> None:
        """InputError if the photograph is too small for the network."""
        height, width = pixels.shape[:2]
        if min(height, width) < least:
            raise InputError(f"{path} should have at least {least} px a side but has {width} x {height}; enlarge it")

    def _targets(self) -> dict[Path, Path]:
        """The file for each photograph's result; InputError if two are the same or one would overwrite a photograph."""
        from runtimes import find_photographs, require_writable
        from runtimes.photographs import SUFFIXES

        if self.before_after is not None:
            require_writable(self.before_after)
        targets: dict[Path, Path] = {}
        for path in (found for given in self.photos for found in find_photographs(given)):
            target = self.out / path.name
            if target in targets.values():
                raise InputError(
                    f"{path} should have a name of its own but another photograph is also named {path.name}; "
                    "enhance them into two folders"
                )
            if target.resolve() == path.resolve():
                raise InputError(
                    f"--out {self.out} should be another folder than that of {path} but is the same, so the result "
                    "would overwrite the photograph; choose another --out"
                )
            if path.suffix.lower() not in SUFFIXES:
                raise InputError(
                    f"{path} should end in one of {', '.join(SUFFIXES)} but ends in {path.suffix or 'nothing'}; "
                    "convert it first"
                )
            targets[path] = target
        if not targets:
            raise InputError("photographs to enhance should be at least one but are none; name files or folders")
        return targets


def before_after_strip(before: Pixels, after: Pixels, height: int = 384) -> Pixels:
    """A photograph and its result side by side, scaled to one height."""
    from runtimes import side_by_side
    from runtimes.image import resize

    width = round(before.shape[1] * height / before.shape[0])
    return side_by_side(resize(before, height, width), resize(after, height, width))


def write_overview(strips: list[Pixels], path: Path) -> None:
    """Write one picture with all strips below each other."""
    import numpy as np

    from runtimes import Photograph, write

    widest = max(strip.shape[1] for strip in strips)
    padded = [np.pad(s, ((0, 16), (0, widest - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    path.parent.mkdir(parents=True, exist_ok=True)
    write(Photograph(np.concatenate(padded)[:-16]), path)
