"""The pages: their links lead somewhere, what they name exists, their numbers are those of the code and the reports."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator

import pytest

from runtimes.likeness import THRESHOLDS
from runtimes.spec import CONTROLS
from tests.pages import CARDS, PAGES, ROOT, anchors, blocks, code_spans, links, prose
from tests.tiny_models import make_spec

RESULTS = ROOT / "benchmarks" / "results"
RATIOS = {  # columns with ratios to PyTorch, and the report of each
    "ratio": "small-256",
    "time to PyTorch's": "small-256",
    "the same, EPYC": "small-256-epyc",
    "`small`, Intel Xeon": "small-256",
    "`small`, AMD EPYC": "small-256-epyc",
    "`base`, Intel Xeon": "base-512",
    "`base`, AMD EPYC": "base-512-epyc",
}
LONGEST = 160  # lines of a page, without those that each name a module


def broken(page: str, text: str) -> Iterator[str]:
    """The links of a page that lead to no file of the repository, or to no heading in it."""
    for target in links(text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8") if name else text)):
            yield target


@pytest.mark.parametrize("page", [*PAGES, *CARDS])
def test_every_link_leads_somewhere(page: str) -> None:
    assert not list(broken(page, (PAGES | CARDS)[page]))


def test_a_broken_link_is_caught() -> None:
    text = (
        "[a](nowhere.md) [b](README.md#nowhere) [c](README.md#install) ![d](docs/no.png) [e](#none)\n\n# Own\n[f](#own)"
    )
    assert list(broken("page.md", text)) == ["nowhere.md", "README.md#nowhere", "docs/no.png", "#none"]


def test_every_page_is_short_and_says_for_whom_it_is() -> None:
    readme = PAGES["README.md"]
    assert readme.count("\n") <= 130
    for page in (ROOT / "docs").glob("*.md"):
        name = f"docs/{page.name}"
        assert f"({name})" in readme, f"the README should link {name}"
        first = PAGES[name].split("\n\n")[1]
        assert first.startswith("This page is for "), f"{name} should say first for whom it is"
        rows_of_modules = len(re.findall(r"^\| `[\w/]+\.py` \|", PAGES[name], flags=re.MULTILINE))
        assert PAGES[name].count("\n") - rows_of_modules <= LONGEST, f"{name} is too long"


def test_files_that_pages_name_exist() -> None:
    for page, text in PAGES.items():
        for span in code_spans(text):
            if re.fullmatch(r"(bncagan|export|runtimes|benchmarks|examples)/[\w/]+\.py", span):
                assert (ROOT / span).is_file(), f"{page}: there is no {span}"


def test_every_trap_names_its_code_and_its_thread() -> None:
    traps = [part for part in PAGES["docs/converter-traps.md"].split("\n\n") if part.startswith("**")]
    assert len(traps) > 20
    for trap in traps:
        assert "*Here*:" in trap, trap
        assert (
            "](https://github.com/" in trap or "](jetson.md)" in trap or "No thread known." in " ".join(trap.split())
        ), trap


@pytest.mark.parametrize(("language", "app"), [("swift", "swift"), ("kotlin", "android")])
def test_the_apps_and_their_pages_use_the_names_that_there_are(language: str, app: str) -> None:
    suffix = {"swift": ".swift", "kotlin": ".kt"}[language]
    sources = {path.name: path.read_text() for path in (ROOT / "apps" / app).rglob(f"*{suffix}")}
    for name in (make_spec().input_name, make_spec().output_name, CONTROLS):
        assert f'"{name}"' in sources[f"Network{suffix}"]
    used = " ".join(block.text for block in blocks(language) if "Enhancer(" in block.text)
    for name in {*re.findall(r"\b(?:enhancer|choice)\.(\w+)", used), *re.findall(r"\b(\w+)(?: =|:) [0-9.]+f?", used)}:
        assert re.search(rf"\b(?:let|val|var|func|fun) {name}\b", "\n".join(sources.values())), name


def table_rows(text: str) -> list[list[str]]:
    """The cells of every line of every table."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_the_limits_are_those_of_the_gate() -> None:
    rows = {cells[0]: cells[1:] for cells in table_rows(PAGES["docs/parity.md"])}
    for precision, limits in THRESHOLDS.items():
        numbers = (limits.max_code, limits.psnr, limits.bias, limits.de_mean, limits.de_p99)
        assert [float(cell.removesuffix(" dB")) if cell else None for cell in rows[precision]] == [*numbers]


def medians(report: str) -> dict[str, float]:
    """The p50 of the inference in ms, by subject without the name of the weights."""
    rows = json.loads((RESULTS / f"{report}.json").read_text())["rows"]
    return {
        re.sub(r"(small|base)(-|, )", "", row["subject"]): statistics.median_low(row["inference_ns"]) / 1e6
        for row in rows
    }


@pytest.mark.parametrize("page", ["README.md", "docs/latency.md"])
def test_latencies_are_those_of_the_reports(page: str) -> None:
    reports = {path.stem: medians(path.stem) for path in RESULTS.glob("*.json")}
    head: list[str] = []
    found = set()
    for cells in table_rows(prose(PAGES[page])):
        head = cells if cells[0] == "subject" else head
        subject = re.sub(r"small(-|, )", "", cells[0])
        for column, cell in zip(head, cells, strict=False) if subject in reports["small-256"] else ():
            if column == "p50 ms":
                assert cell == f"{reports['small-256'][subject]:.1f}", cells
                found.add((subject, "small-256"))
            elif column in RATIOS and cell:
                measured = reports[RATIOS[column]]
                assert cell == f"{measured[subject] / measured['PyTorch']:.2f}", (cells, column)
                found.add((subject, RATIOS[column]))
    assert len(found) >= 14
    assert found == {(subject, name) for name, rows in reports.items() for subject in rows} or page == "README.md"
