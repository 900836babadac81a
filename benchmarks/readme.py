"""Put the tables of a committed report into README.md: python benchmarks/readme.py."""

from __future__ import annotations

import re
import sys
from pathlib import Path

if not __package__:  # run as a script: the project's packages lie beside this folder, not in it
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.report import Report
from benchmarks.tables import markdown
from runtimes import ArtifactError

ROOT = Path(__file__).resolve().parents[1]
END = "<!-- latency: end -->"
PLACE = re.compile(rf"<!-- latency: (?P<report>\S+\.json) -->\n.*?{END}", re.DOTALL)


def with_tables(text: str, root: Path = ROOT) -> str:
    """The text with the tables of each report that it names, by its path from `root`, between the two marks.

    `<!-- latency: benchmarks/results/NAME.json -->` begins such a place, `<!-- latency: end -->` ends it.

    Errors: ArtifactError when there is no such place, or the report is missing or unusable.
    """
    if not PLACE.search(text):
        raise ArtifactError(f"the text should have <!-- latency: REPORT.json --> and {END} but has not; add them")

    def filled(match: re.Match[str]) -> str:
        name = match["report"]
        return f"<!-- latency: {name} -->\n\n{markdown(Report.load(root / name))}\n{END}"

    return PLACE.sub(filled, text)


def main() -> None:
    """Rewrite the README."""
    readme = ROOT / "README.md"
    readme.write_text(with_tables(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
