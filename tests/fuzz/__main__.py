"""Coverage-guided fuzzing of one target with atheris: python -m tests.fuzz TARGET SECONDS FOLDER.

New kinds of errors are kept as files in FOLDER, and do not end the run; a hang or a crash of the process does. The last
line counts the inputs and what was found.
"""

from __future__ import annotations

import os
import random
import re
import sys
import time
import traceback
from pathlib import Path

import atheris

GUIDED = [  # few, because instrumenting a module takes a second
    *("runtimes", "bncagan.config", "bncagan.network.checkpoint", "benchmarks.report"),
    *("PIL.PngImagePlugin", "PIL.TiffImagePlugin", "PIL.JpegImagePlugin", "numpy.lib._format_impl", "zipfile"),
]
HANG_S, MEMORY_MIB = 25, 4096

with atheris.instrument_imports(include=GUIDED, enable_loader_override=False):
    from tests.fuzz.mutation import inside
    from tests.fuzz.targets import TARGETS, Target


class Campaign:
    """One run: what was tried, and the first input of every kind of error."""

    def __init__(self, target: Target, folder: Path, seconds: float) -> None:
        self.inputs = self.accepted = 0
        self.slowest_s = 0.0
        self.found: dict[str, int] = {}
        self._target, self._folder = target, folder
        self._end = time.monotonic() + seconds
        self._path = folder / f"input{target.suffix}"

    def try_one(self, data: bytes) -> None:
        """Read one input; an error that is not the project's own is kept. Ends the process when the time is over."""
        self._path.write_bytes(data)
        self.inputs += 1
        began = time.monotonic()
        try:
            self.accepted += self._target.accepts(self._path)
        except Exception as error:  # noqa: BLE001 # whatever comes is what is looked for
            frames = traceback.extract_tb(error.__traceback__)
            kind = f"{type(error).__name__}-{Path(frames[-1].filename).stem}-{frames[-1].lineno}"
            if kind not in self.found:
                (self._folder / f"{kind}{self._target.suffix}").write_bytes(data)
                (self._folder / f"{kind}.txt").write_text("".join(traceback.format_exception(error)))
            self.found[kind] = self.found.get(kind, 0) + 1
        now = time.monotonic()
        self.slowest_s = max(self.slowest_s, now - began)
        if now > self._end:
            self.report()
            os._exit(bool(self.found))  # libFuzzer would report to nobody and never come back

    def report(self) -> None:
        """Print the counts."""
        kinds = ", ".join(f"{kind} x{number}" for kind, number in self.found.items()) or "nothing"
        print(
            f"{self._folder.name}: {self.inputs} inputs, {self.accepted} accepted, "
            f"slowest {self.slowest_s:.1f} s, {time.process_time():.0f} s of CPU time, peak memory {peak_memory()}; "
            f"found {kinds}",
            flush=True,
        )


def peak_memory() -> str:
    """The most memory that this process has had; that of getrusage begins with what its parent had."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return f"{int(found[1]) // 1024} MiB" if found else "unknown"


def custom(data: bytes, max_size: int, seed: int) -> bytes:
    """Half of the mutations are libFuzzer's; both kinds reach the members of archives."""
    rng = random.Random(seed)
    change = (lambda part, _: atheris.Mutate(part, max(len(part) + 64, 128))) if seed % 2 else None
    made = inside(data, rng, change) if change else inside(data, rng)
    return made[:max_size]


def main() -> None:
    """Fuzz; the process ends in libFuzzer."""
    name, seconds, folder = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]) / sys.argv[1]
    target, corpus = TARGETS[name], folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = target.seeds(folder)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    campaign = Campaign(target, folder, seconds)
    for seed in seeds:
        (folder / f"input{target.suffix}").write_bytes(seed)
        if not target.accepts(folder / f"input{target.suffix}"):
            sys.exit(f"{name}: a seed is refused")
    options = [
        f"-max_len={2 * max(map(len, seeds)) + 1024}",
        f"-timeout={HANG_S}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-artifact_prefix={folder}/",
        "-verbosity=0",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *options], campaign.try_one, custom_mutator=custom)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
