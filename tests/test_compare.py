"""Comparing reports: matched rows, refused rows, and conditions that determine the exit code."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.compare import METRICS, Compare, Condition, join, parse_condition
from benchmarks.report import Measurement
from runtimes import ArtifactError
from runtimes.command import run_command
from tests.benchmark_fakes import MS, make_report, make_row

Saver = Callable[..., Path]


@pytest.fixture
def saved(tmp_path: Path) -> Saver:
    """Return `saved(name, *rows)`, which writes a report with these rows and returns its path."""

    def save(name: str, *rows: Measurement, **fields: Any) -> Path:
        path = tmp_path / f"{name}.json"
        make_report(*rows, **fields).save(path)
        return path

    return save


def noisy(ms: float, seed: int, count: int = 40) -> tuple[int, ...]:
    return tuple((np.random.default_rng(seed).normal(ms, 0.02 * ms, count) * MS).astype(int).tolist())


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def run(*arguments: object) -> int:
    return run_command("compare", Compare, [str(argument) for argument in arguments])


def test_the_ratio_is_that_of_the_medians(saved: Saver, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, later = noisy(10, 0), noisy(13, 1)
    one = saved("one", make_row(inference_ns=first), make_row(subject="n.xml", inference_ns=first))
    two = saved("two", make_row(subject="n.xml", inference_ns=first), make_row(inference_ns=later))
    assert run(one, two, "--out", tmp_path / "t.csv") == 0
    assert "Board 1, CPU 2, 4 cores, 8 GiB" in capsys.readouterr().out
    lines = {line["subject"]: line for line in lines_of(tmp_path / "t.csv")}
    median = sorted(later)[19] / sorted(first)[19]
    assert float(lines["m.onnx"]["ratio p50"]) == pytest.approx(median, abs=6e-4)
    low, high = map(float, lines["m.onnx"]["95 % interval"].split(" to "))
    assert low < 1.3 < high
    assert high - low < 0.1
    assert lines["n.xml"]["ratio p50"] == "1.000"


def test_end_to_end_is_another_scope(saved: Saver, tmp_path: Path) -> None:
    one = saved("one", make_row(end_to_end_ns=(20 * MS,) * 5))
    two = saved("two", make_row(end_to_end_ns=(50 * MS,) * 5))
    assert run(one, two, "--scope", "end to end", "--out", tmp_path / "t.csv") == 0
    (line,) = lines_of(tmp_path / "t.csv")
    assert line["ratio p50"] == "2.500"
    assert line["end to end p50 ms, first"] == "20.00"


def test_three_reports_are_compared_with_the_first(saved: Saver, tmp_path: Path) -> None:
    paths = [saved(str(n), make_row(inference_ns=(n * 10 * MS,) * 5)) for n in (1, 2, 3)]
    assert run(*paths, "--out", tmp_path / "t.csv") == 0
    lines = lines_of(tmp_path / "t.csv")
    assert [(line["reports"], line["ratio p50"]) for line in lines] == [("1 and 2", "2.000"), ("1 and 3", "3.000")]


OTHERS = {
    "weights": {"weights_sha256": "f" * 64},
    "shape": {"shape": (1, 64, 64)},
    "precision": {"ran": "bf16"},
    "threads": {"threads": None},
    "scope": {"io": "uint8"},
}


@pytest.mark.parametrize("what", OTHERS)
def test_rows_that_differ_are_refused_or_flagged(
    what: str, saved: Saver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = make_row(subject="same.onnx")
    one, two = saved("one", make_row(), same), saved("two", make_row(**OTHERS[what]), same)
    assert run(one, two, "--out", tmp_path / "t.csv") == 0
    assert f"refused: m.onnx: {what} " in capsys.readouterr().out
    assert [line["subject"] for line in lines_of(tmp_path / "t.csv")] == ["same.onnx"]
    assert run(one, two, "--allow", "--out", tmp_path / "t.csv") == 0
    flagged = {line["subject"]: line["differences"] for line in lines_of(tmp_path / "t.csv")}
    assert flagged["same.onnx"] == ""
    assert flagged["m.onnx"].startswith(f"{what} ")
    assert " and " in flagged["m.onnx"]


def test_reports_without_matching_rows_are_refused(saved: Saver, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = saved("one", make_row()), saved("two", make_row(**OTHERS["shape"]))
    assert run(one, two) == 2
    assert "shape 1x32x48 and 1x64x64" in capsys.readouterr().err
    assert run(one) == 2
    assert "two reports" in capsys.readouterr().err


def test_rows_of_a_subject_are_matched_by_the_fewest_differences() -> None:
    rows = [make_row(shape=(1, 16 * n, 16), threads=t) for n in (1, 2) for t in (1, 2)]
    pairs, alone = join([make_report(*rows), make_report(*reversed(rows))])
    assert not alone
    assert [(pair.first, pair.differences) for pair in pairs] == [(row, ()) for row in rows]
    assert all(pair.later == pair.first for pair in pairs)


@pytest.mark.parametrize("metric", METRICS)
def test_each_metric_is_the_ratio_of_its_numbers(metric: str) -> None:
    first = make_row(inference_ns=tuple(n * MS for n in range(1, 101)))
    later = make_row(
        inference_ns=tuple(n * MS for n in [*range(1, 50), *range(100, 151)]),
        load_ns=150 * MS,
        first_ns=80 * MS,
        peak_memory_bytes=250 * 2**20,
        size_bytes=5_000_000,
    )
    wanted = {
        "p50": 100 / 50, "p90": 140 / 90, "p99": 149 / 99, "max": 1.5,
        "load": 3.0, "first": 4.0, "memory": 2.5, "size": 2.5,
    }  # fmt: skip
    (pair,), _ = join([make_report(first), make_report(later)])
    assert pair.ratio(metric, "inference") == pytest.approx(wanted[metric])


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("p50 > 1.1", Condition("p50", ">", 1.1)),
        ("memory>=2", Condition("memory", ">=", 2.0)),
        (" p99 <0.5 ", Condition("p99", "<", 0.5)),
        ("max <= 1", Condition("max", "<=", 1.0)),
    ],
)
def test_conditions(text: str, condition: Condition) -> None:
    assert parse_condition(text) == condition
    assert parse_condition(str(condition)) == condition


@pytest.mark.parametrize(
    "text",
    [
        "",
        "p50",
        "p50 > ",
        "> 1",
        "p51 > 1",
        "p50 > 1 or 1",
        "p50 == 1",
        "p50 > -1",
        "p50 > nan",
        "p50 > __import__('os')",
    ],
)
def test_malformed_conditions_are_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match=re.escape("METRIC OPERATOR NUMBER")):
        parse_condition(text)


def test_conditions_include_or_exclude_their_limit() -> None:
    limits = [(sign, value) for sign in (">", ">=", "<", "<=") for value in (0.9, 1.0, 1.1)]
    held = {(sign, value) for sign, value in limits if Condition("p50", sign, 1.0).holds(value)}
    assert held == {(">", 1.1), (">=", 1.0), (">=", 1.1), ("<", 0.9), ("<=", 0.9), ("<=", 1.0)}


@pytest.mark.parametrize(("ms", "code"), [(10, 0), (10.9, 0), (11.2, 1), (5, 0)])
def test_fail_if_decides_the_exit_code(ms: float, code: int, saved: Saver, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (
        saved("one", make_row(inference_ns=(10 * MS,) * 5)),
        saved("two", make_row(inference_ns=(int(ms * MS),) * 5)),
    )
    assert run(one, two, "--fail-if", "p50 > 1.1") == code
    assert ("FAILED: m.onnx at 1x32x48, report 2: p50 is 1.120 times" in capsys.readouterr().out) == bool(code)
    assert run(one, two) == 0
    assert run(one, two, "--fail-if", "p99 > 3", "p50 > 1.1") == code


def test_refused_and_missing_rows_fail_the_condition(saved: Saver) -> None:
    same, row = make_row(subject="same.onnx"), make_row()
    one = saved("one", row, same)
    assert run(one, saved("refused", make_row(**OTHERS["weights"]), same), "--fail-if", "p50 > 9") == 1
    assert run(one, saved("missing", same), "--fail-if", "p50 > 9") == 1
    assert run(one, saved("more", row, same, make_row(subject="new.onnx")), "--fail-if", "p50 > 9") == 0
    without = make_row(peak_memory_bytes=None)
    assert run(one, saved("unknown", without, same), "--fail-if", "memory > 9") == 1
    assert run(one, one, "--fail-if", "p50 is slow") == 2


def test_html_is_escaped_and_tables_keep_their_columns(saved: Saver, tmp_path: Path) -> None:
    row = make_row(subject="<b>a|b</b>.onnx")
    one, two = saved("one", row), saved("two", row, warnings=("busy <now>",))
    for suffix in (".html", ".md", ".csv"):
        assert run(one, two, "--out", tmp_path / f"t{suffix}") == 0
    page = (tmp_path / "t.html").read_text()
    assert "&lt;b&gt;a|b&lt;/b&gt;.onnx" in page
    assert "busy &lt;now&gt;" in page
    lines = [line for line in (tmp_path / "t.md").read_text().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert run(one, two, "--out", tmp_path / "t.pdf") == 2


def test_rows_without_a_partner_are_named_and_shown_on_request(
    saved: Saver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = make_row(subject="same.onnx")
    one, two = saved("one", make_row(subject="a.engine"), same), saved("two", same, make_row(subject="b.mlpackage"))
    assert run(one, two) == 0
    said = capsys.readouterr().out
    assert "a.engine at 1x32x48 is only in report 1, not in report 2" in said
    assert "b.mlpackage at 1x32x48 is only in report 2, not in report 1" in said
    assert run(one, two, "--allow", "--out", tmp_path / "t.csv") == 0
    lines = {line["subject"]: line for line in lines_of(tmp_path / "t.csv")}
    assert (lines["a.engine"]["inference p50 ms, first"], lines["a.engine"]["later"]) == ("10.00", "")
    assert (lines["b.mlpackage"]["inference p50 ms, first"], lines["b.mlpackage"]["later"]) == ("", "10.00")
