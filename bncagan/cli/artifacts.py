"""fold, export, verify, enhance: from weights to a checked file to pictures."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.progress import track
from rich.table import Table

from bncagan.cli.options import Flag, parse_size, terminal
from bncagan.errors import InputError
from runtimes.verdict import Verdict

if TYPE_CHECKING:
    from bncagan.folded import FoldedGenerator
    from export.artifact import Artifact
    from runtimes import ShapeSet
    from runtimes.image import Pixels

OVERVIEW_ROWS = 6
RANGE = ((1, 16, 16), (1, 512, 512), (8, 4096, 4096))  # N, H, W that --dynamic accepts: smallest, usual, largest


@dataclass(frozen=True)
class Fold:
    """Show what folding does: parameters, multiply-adds, peak activation memory and float64 error of each rewrite."""

    checkpoint: str = "small"
    """Generator file, or the name of shipped weights."""
    shape: str = "512x512"
    """HEIGHTxWIDTH at which work and memory are counted."""
    report: Flag = False
    """Accepted for clarity: the report is what this command does."""
    json: Flag = False
    """Print the report as JSON instead of a table."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Print the report."""
        from bncagan.accounting import folding_report
        from bncagan.checkpoint import load_generator

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
class ExportOptions:
    """What every format is asked."""

    checkpoint: str = "small"
    """Generator file, or the name of shipped weights."""
    out: Path
    """File to write."""
    shape: str | None = None
    """The one HEIGHTxWIDTH that the file accepts, multiples of 8; 512x512 unless --dynamic."""
    batch: int = 1
    """Pictures at a time, with a fixed shape."""
    dynamic: Flag = False
    """Accept every multiple of 8 from 16 to 4096 px a side, and 1 to 8 pictures at a time."""
    io: Literal["float32", "uint8"] = "float32"
    """float32: N x 3 x H x W in [0, 1] at both ends; uint8: N x H x W x 3 bytes at both ends."""
    photos: Path | None = None
    """Folder of photographs to check parity on, instead of scikit-image's."""
    debug: Flag = False
    """Show the traceback of an error."""

    def shapes(self) -> ShapeSet:
        """The shapes asked for; InputError for a contradiction or a side that is no multiple of 8."""
        from runtimes import ShapeSet

        if self.dynamic:
            if self.shape is not None or self.batch != 1:
                raise InputError("expected either --dynamic or --shape and --batch, got both; leave one out")
            return ShapeSet.between(*RANGE)
        return ShapeSet.of((self.batch, *parse_size(self.shape or "512x512")))

    def options(self) -> dict[str, Any]:
        """What every exporter takes: shapes, io, and the user's photographs by name (None for scikit-image's)."""
        from runtimes import find_photographs, read

        shapes = self.shapes()
        photos = None if self.photos is None else {p.name: read(p).pixels for p in find_photographs(self.photos)}
        return {"shapes": shapes, "io": self.io, "photos": photos}

    def folded(self) -> FoldedGenerator:
        """The generator, folded."""
        from bncagan.checkpoint import load_generator
        from bncagan.folding import fold

        return fold(load_generator(self.checkpoint)[0])


@dataclass(frozen=True, kw_only=True)
class Onnx(ExportOptions):
    """ONNX, opset 18, one file; FP16 is strongly typed, so that TensorRT 10 and 11 build it as it is."""

    precision: Literal["fp32", "fp16"] = "fp32"
    """fp16: half weights and arithmetic, with statistics, input and output in float32."""

    def run(self) -> int:
        """Export and check."""
        from export.to_onnx import to_onnx

        options = self.options()
        return announce(to_onnx(self.folded(), self.out, precision=self.precision, **options))


@dataclass(frozen=True, kw_only=True)
class OpenVino(ExportOptions):
    """OpenVINO IR: an .xml with its weights in a .bin beside it."""

    precision: Literal["fp32", "fp16"] = "fp32"
    """Of the stored weights; the arithmetic is float32 with both, unless the runtime is asked for bfloat16."""

    def run(self) -> int:
        """Export and check."""
        from export.to_openvino import to_openvino

        options = self.options()
        return announce(to_openvino(self.folded(), self.out, precision=self.precision, **options))


@dataclass(frozen=True, kw_only=True)
class Pt2(ExportOptions):
    """PyTorch exported program: runs with torch alone, without this project."""

    def run(self) -> int:
        """Export and check."""
        from export.to_pt2 import to_pt2

        options = self.options()
        return announce(to_pt2(self.folded(), self.out, **options))


@dataclass(frozen=True)
class Export:
    """Fold a generator, export it, and refuse the file unless its pictures equal PyTorch's."""

    format: Annotated[
        Annotated[Onnx, tyro.conf.subcommand("onnx")]
        | Annotated[OpenVino, tyro.conf.subcommand("openvino")]
        | Annotated[Pt2, tyro.conf.subcommand("pt2")],
        tyro.conf.arg(name=""),
    ]

    def run(self) -> int:
        """Export to the chosen format."""
        return self.format.run()


@dataclass(frozen=True)
class Verify:
    """Repeat an artifact's parity check on this device; needs neither torch nor the checkpoint."""

    artifact: tyro.conf.Positional[Path]
    """Exported file, with its .golden.npz beside it."""
    provider: tuple[str, ...] = ()
    """ONNX Runtime's execution providers in order of preference, e.g. CUDAExecutionProvider; the CPU if not given."""
    json: Flag = False
    """Print spec, verdict and every score as JSON."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Check; ParityError, exit code 1, if a picture differs too much."""
        import runtimes
        from export.parity import Golden, check, golden_path, report_table, require

        options = {"providers": self.provider} if self.provider else {}
        with runtimes.load(self.artifact, **options) as runtime:
            report = check(runtime, Golden.load(golden_path(self.artifact)))
            if self.json:
                spec = json.loads(runtime.spec.to_json())
                print(json.dumps({"artifact": str(self.artifact), "spec": spec, **report.to_dict()}, indent=2))
            else:
                terminal().print(report_table(report), summary_line(report.verdict), sep="\n")
        require(report, self.artifact)
        return 0


@dataclass(frozen=True)
class Enhance:
    """Enhance photographs of any size with an exported artifact."""

    artifact: tyro.conf.Positional[Path]
    """Exported file."""
    photos: tyro.conf.Positional[tuple[Path, ...]]
    """Photographs, or folders of them."""
    out: Path
    """Folder for the results, which keep their names; created if need be."""
    before_after: Path | None = None
    """Also write one picture with the first six photographs, before and after side by side."""
    max_side: int = 1536
    """Longest side that the network sees, px; of larger photographs it sees a reduced copy, whose change is carried
    over to every pixel."""
    threads: int | None = None
    """CPU threads; the backend's choice if not given."""
    provider: tuple[str, ...] = ()
    """ONNX Runtime's execution providers in order of preference, e.g. CUDAExecutionProvider; the CPU if not given."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Decode everything once before the first file is written, so that a bad photograph is named before."""
        import runtimes

        targets = self._targets()
        options = {"threads": self.threads} | ({"providers": self.provider} if self.provider else {})
        with runtimes.load(self.artifact, **options) as runtime:
            console = terminal(stderr=True)
            hidden = not console.is_terminal
            for path in track(targets, "reading", console=console, disable=hidden):
                self._check(path, runtimes.read(path).pixels, runtime.spec.multiple)
            self.out.mkdir(parents=True, exist_ok=True)
            strips: list[Pixels] = []
            for path in track(targets, "enhancing", console=console, disable=hidden):
                photograph = runtimes.read(path)
                enhanced = runtime.enhance(photograph.pixels, max_side=self.max_side)
                runtimes.write(dataclasses.replace(photograph, pixels=enhanced), targets[path])
                print(targets[path])
                if self.before_after is not None and len(strips) < OVERVIEW_ROWS:
                    strips.append(before_after_strip(photograph.pixels, enhanced))
        if self.before_after is not None:
            write_overview(strips, self.before_after)
            print(self.before_after)
        return 0

    def _check(self, path: Path, pixels: Pixels, least: int) -> None:
        """InputError if the photograph is smaller than the network can take."""
        height, width = pixels.shape[:2]
        if min(height, width) < least:
            raise InputError(f"{path}: expected at least {least} px a side, got {width} x {height}; enlarge it")

    def _targets(self) -> dict[Path, Path]:
        """Where each photograph's result goes; InputError if two meet or one would overwrite its source."""
        from runtimes import find_photographs, require_writable

        if self.before_after is not None:
            require_writable(self.before_after)
        targets: dict[Path, Path] = {}
        for path in (found for given in self.photos for found in find_photographs(given)):
            target = self.out / path.name
            if target in targets.values():
                raise InputError(f"{path}: another photograph is also named {path.name}; enhance them into two folders")
            if target.resolve() == path.resolve():
                raise InputError(f"{path}: its result would overwrite it; choose another --out")
            require_writable(target)
            targets[path] = target
        if not targets:
            raise InputError("expected at least one photograph or folder of photographs, got none; name them")
        return targets


def before_after_strip(before: Pixels, after: Pixels, height: int = 384) -> Pixels:
    """A photograph and its result side by side, scaled to one height."""
    from runtimes import side_by_side
    from runtimes.image import resize

    width = round(before.shape[1] * height / before.shape[0])
    return side_by_side(resize(before, height, width), resize(after, height, width))


def write_overview(strips: list[Pixels], path: Path) -> None:
    """One picture of all strips below each other."""
    import numpy as np

    from runtimes import Photograph, write

    widest = max(strip.shape[1] for strip in strips)
    padded = [np.pad(s, ((0, 16), (0, widest - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    path.parent.mkdir(parents=True, exist_ok=True)
    write(Photograph(np.concatenate(padded)[:-16]), path)


def announce(artifact: Artifact) -> int:
    """Say what was exported and how it compared."""
    spec, size = artifact.spec, artifact.size / 2**20
    print(f"{artifact.path}: {spec.precision}, {spec.io}, {spec.shapes}, {size:.2f} MiB")
    print(summary_line(artifact.report.verdict))
    return 0


def summary_line(verdict: Verdict) -> str:
    """The verdict in one line, with the numbers of the worst picture."""
    outcome = "PASS" if verdict.passed else "FAIL"
    psnr = "identical" if verdict.psnr_min is None else f"PSNR at least {verdict.psnr_min:.1f} dB ({verdict.worst})"
    return (
        f"parity {outcome}: {psnr}, largest difference {verdict.max_code} of 255, channel bias {verdict.bias_max:.3f}, "
        f"CIEDE2000 p99 {verdict.de_p99:.2f}; {verdict.cases} pictures, {verdict.label} with {verdict.runtime} on "
        f"{verdict.device}"
    )
