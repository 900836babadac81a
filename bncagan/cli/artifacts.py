"""fold, verify and selftest: look at the folded network, check an artifact again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.table import Table

from bncagan.cli.options import RuntimeOptions, summary_line
from runtimes.command import Flag
from runtimes.console import terminal
from runtimes.errors import InputError
from runtimes.formats import FORMATS
from runtimes.spec import parse_size

if TYPE_CHECKING:
    from export.parity import Report
    from runtimes import Runtime
    from runtimes.golden import Golden


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
class Checking(RuntimeOptions):
    """The options of a parity check on this device."""

    artifact: tyro.conf.Positional[Path]
    """Exported file, with its .golden.npz beside it; or the name of a packaged model."""
    unsealed: Flag = False
    """Check a file that has no seal, too, such as one of version 0.1."""
    debug: Flag = False
    """Show the traceback of an error."""

    @contextmanager
    def checked(self) -> Iterator[tuple[Runtime, Golden, Report]]:
        """The opened artifact, its golden pictures and the report; leaving the block raises ParityError if it failed.

        That error is exit code 1.
        """
        from export.parity import check, require
        from export.sealing import require_sealed
        from runtimes.golden import Golden, golden_path

        runtime, label = self._open()
        with runtime:
            golden = Golden.load(golden_path(runtime.path))
            require_sealed(runtime, golden, unsealed=self.unsealed)
            golden = self.chosen(runtime, golden)
            report = check(runtime, golden, label=label)
            yield runtime, golden, report
        require(report, self.artifact)

    def chosen(self, runtime: Runtime, stored: Golden) -> Golden:
        """The golden pictures to check on."""
        return stored

    def _open(self) -> tuple[Runtime, str]:
        """The runtime for the check, and the label of the verdict."""
        from runtimes import backends

        if self.artifact.suffix.lower() == FORMATS["coreml"].suffix and sys.platform != "darwin":
            from export.mil import MilEvaluator

            if self.runtime_options():
                raise InputError(
                    f"{self.artifact} should be verified without options of its runtime, because only a Mac can run "
                    f"it, but has {', '.join(self.given_options())}; leave them out, or verify it on a Mac"
                )
            return MilEvaluator(self.artifact), "predicted"
        return backends.open_artifact(self.artifact, **self.runtime_options()), "measured"


@dataclass(frozen=True, kw_only=True)
class Verify(Checking):
    """Repeat an artifact's parity check on this device, without torch and without the checkpoint.

    Only a Core ML package needs torch if this is not a Mac: torch then evaluates it, and the verdict says `predicted`.
    """

    json: Flag = False
    """Print spec, verdict and all scores as JSON."""
    checkpoint: str | None = None
    """Generator file, or the name of shipped weights: make the golden pictures anew from these weights, with torch."""
    write_self_test: Path | None = None
    """New folder for the golden pictures and limits as files that other programs read; only if the check passes."""

    def run(self) -> int:
        """Check and print; write the self-test folder if it was asked for."""
        from export.parity import report_table
        from export.self_test import write_self_test
        from runtimes.files import require_new

        if self.write_self_test is not None:
            require_new(self.write_self_test)
        with self.checked() as (runtime, golden, report):
            if self.json:
                spec = json.loads(runtime.spec.to_json())
                print(json.dumps({"artifact": str(self.artifact), "spec": spec, **report.to_dict()}, indent=2))
            else:
                terminal().print(report_table(report), summary_line(report.verdict), sep="\n")
            if self.write_self_test is not None and report.verdict.passed:
                write_self_test(self.write_self_test, runtime, golden)
        return 0

    def chosen(self, runtime: Runtime, stored: Golden) -> Golden:
        """The stored pictures, or those of the checkpoint; SealError, exit code 1, if the artifact is of others."""
        if self.checkpoint is None:
            return stored
        from bncagan.network.checkpoint import load_generator, weights_sha256
        from bncagan.network.folding import fold
        from export.artifact import make_golden
        from export.sealing import SealError

        model, spec = fold(load_generator(self.checkpoint)[0]), runtime.spec
        found = weights_sha256(model.state_dict())
        if found != spec.weights_sha256:
            raise SealError(
                f"{self.artifact} should be of the weights {self.checkpoint}, {found[:12]}, "
                f"but is of {spec.weights_sha256[:12]}; name the checkpoint that it was exported from"
            )
        return make_golden(model, spec.shapes, None, controls=spec.controls, output=spec.output)


@dataclass(frozen=True, kw_only=True)
class SelfTest(Checking):
    """Check an artifact as `verify` does, and print the verdict as JSON, in the form that all self-tests share."""

    def run(self) -> int:
        """Check and print."""
        with self.checked() as (_, _, report):
            print(json.dumps(asdict(report.verdict), indent=2))
        return 0
