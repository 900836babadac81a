"""The report: its JSON matches the documentation, and impossible measurements are refused."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.busy import Watch, busy_seconds, warnings_of
from benchmarks.machine import CHECKOUT, board, cpu, describe_environment, memory, power
from benchmarks.report import VERSION, Likeness, NotRun, Quiet, Report
from benchmarks.run import judge, limits_of
from benchmarks.statistics import drift, percentile, ratio_of_medians, throughput
from benchmarks.tables import blocks, markdown, parity
from runtimes import ArtifactError, Verdict
from runtimes.golden import Case
from runtimes.likeness import THRESHOLDS, compare
from tests.benchmark_fakes import MS, make_report, make_row, make_verdict

DOCUMENTATION = CHECKOUT / "docs" / "reports.md"


def everything() -> Report:
    """A report in which no field is empty."""
    rows = (make_row(verdict=make_verdict()), make_row(subject="n.onnx", threads=None, check=None))
    return make_report(*rows, warnings=("busy",), not_run=(NotRun(subject="x.engine", reason="needs tensorrt"),))


def plant(report: Report, place: str, value: Any = None, *, remove: bool = False) -> str:
    """Return the report's JSON with the field at a path such as "a.0.b" replaced or removed."""
    data = json.loads(report.to_json())
    *folders, name = place.split(".")
    parent = data
    for folder in folders:
        parent = parent[int(folder) if folder.isdigit() else folder]
    if remove:
        del parent[name]
    else:
        parent[name] = value
    return json.dumps(data)


def names_of(value: Any, place: str = "") -> set[str]:
    """List the paths, such as "a.0.b", of all fields of a JSON value, except those in free-form maps."""
    found: set[str] = set()
    if isinstance(value, dict) and not place.endswith((".power", ".libraries", ".variables")):
        for name, inside in value.items():
            found |= {f"{place}.{name}".lstrip(".")} | names_of(inside, f"{place}.{name}")
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        found |= names_of(value[0], f"{place}.0")
    return found


def test_json_round_trip() -> None:
    report = everything()
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize("place", sorted(names_of(json.loads(everything().to_json()))))
def test_every_field_is_documented_and_no_other_is_taken(place: str) -> None:
    name = place.rsplit(".", 1)[-1]
    with pytest.raises(ArtifactError, match="surprise; measure again"):
        Report.from_json(plant(everything(), f"{place[: -len(name)]}surprise", 1))
    assert f"`{name}`" in DOCUMENTATION.read_text()


@pytest.mark.parametrize("place", ["created", "rows", "rows.0.inference_ns", "rows.0.check.max_code", "quiet"])
def test_a_missing_field_is_named(place: str) -> None:
    path = re.escape(place.replace(".0", "[0]"))
    with pytest.raises(ArtifactError, match=f"^the report should have the field {path} but lacks it; measure again$"):
        Report.from_json(plant(everything(), place, remove=True))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("rows", {}),
        ("rows.0.inference_ns", [1.5]),
        ("rows.0.inference_ns", "fast"),
        ("rows.0.threads", 1.5),
        ("rows.0.shape", [1, 2]),
        ("environment.board", 3),
        ("rows.0.kind", "guess"),
        ("rows.0.precision", "fp64"),
        ("rows.0.io", "float16"),
    ],
)
def test_a_wrong_type_or_word_is_refused(place: str, value: object) -> None:
    with pytest.raises(ArtifactError, match=place.rsplit(".", 1)[-1]):
        Report.from_json(plant(everything(), place, value))


def test_versions_and_other_schemas() -> None:
    report = everything()
    assert json.loads(report.to_json())["version"] == str(VERSION)
    assert Report.from_json(plant(report, "version", 1)) == report
    newer = json.loads(plant(report, "version", "1.99"))
    newer["rows"][0]["surprise"] = 1
    assert Report.from_json(json.dumps(newer)) == report
    for version in (2, "2.0"):
        with pytest.raises(ArtifactError, match=r"version 2\.0; upgrade"):
            Report.from_json(plant(report, "version", version))
    with pytest.raises(ArtifactError, match="'other'"):
        Report.from_json(plant(report, "schema", "other"))


@pytest.mark.parametrize("path", sorted((CHECKOUT / "benchmarks" / "results").glob("*.json")), ids=lambda p: p.name)
def test_the_committed_reports_open(path: Path) -> None:
    assert Report.load(path).rows


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ("rows.0.inference_ns.2", 0, "0 ns, a clock error"),
        ("rows.0.inference_ns.2", -5, "should be a whole number from 0 but is -5"),
        ("rows.0.first_ns", 0, "clock error"),
        ("rows.0.inference_ns.4", 90 * MS, "sample 4 has 90000000 ns within"),
        ("duration_ns", 20 * MS, "add up to .* clock error"),
        ("rows.0.inference_ns", [MS], "as many inference samples"),
        ("rows.0.inference_ns", [], "as many inference samples"),
        ("rows.0.shape", [1, 64, 64], "shape of the report"),
        ("rows.0.threads", 7, "threads of the report"),
        ("rows", [], "has none"),
    ],
)
def test_impossible_measurements_are_refused(place: str, value: object, reason: str) -> None:
    data = json.loads(everything().to_json())
    if place.endswith((".2", ".4")):
        data["rows"][0]["inference_ns"][int(place[-1])] = value
        text = json.dumps(data)
    else:
        text = plant(everything(), place, value)
    with pytest.raises(ArtifactError, match=reason):
        Report.from_json(text)


def test_rows_of_different_length_and_equal_rows_are_refused() -> None:
    with pytest.raises(ArtifactError, match="5 samples, one a round"):
        make_report(make_row(), make_row(subject="n", inference_ns=(MS,)))
    with pytest.raises(ArtifactError, match="once"):
        make_report(make_row(), make_row())


def test_the_error_names_a_file_that_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"absent\.json"):
        Report.load(tmp_path / "absent.json")
    (tmp_path / "r.json").write_text("[1]")
    with pytest.raises(ArtifactError, match=r"r\.json should be a JSON object"):
        Report.load(tmp_path / "r.json")


@pytest.mark.parametrize("count", [1, 2, 3, 99, 100, 101])
@pytest.mark.parametrize("q", [50, 90, 99, 100])
def test_percentiles_are_nearest_rank(count: int, q: int) -> None:
    samples = np.random.default_rng(count).integers(1, 10**9, count).tolist()
    assert percentile(samples, q) == sorted(samples)[max(math.ceil(q * count / 100), 1) - 1]


def test_p99_shows_five_slow_frames_of_a_hundred() -> None:
    samples = [MS] * 95 + [30 * MS] * 5
    assert (percentile(samples, 50), percentile(samples, 99)) == (MS, 30 * MS)


def test_throughput_and_drift() -> None:
    assert throughput([500 * MS, 1500 * MS], batch=4) == pytest.approx(4.0)
    assert drift([10, 10, 10, 11, 12, 13, 20, 20, 20]) == 2.0
    assert drift([1, 2, 3]) == 1.0


def test_the_interval_of_a_ratio_holds_the_true_one_and_widens_with_noise() -> None:
    rng = np.random.default_rng(3)
    held, widths = 0, dict[float, list[float]]()
    for noise in (0.02, 0.2):
        for _ in range(40):
            first, later = (np.exp(rng.normal(np.log(m), noise, 60)).astype(int) for m in (10 * MS, 12 * MS))
            ratio = ratio_of_medians(later.tolist(), first.tolist())
            held += ratio.low <= 1.2 <= ratio.high
            widths.setdefault(noise, []).append(ratio.high - ratio.low)
    assert held >= 68  # of 80, at 95 %: fewer by chance once in ten thousand
    assert np.mean(widths[0.2]) > 5 * np.mean(widths[0.02])
    assert ratio_of_medians([5, 5], [4, 4]) == (1.25, 1.25, 1.25)


@pytest.mark.parametrize(
    ("off", "precision", "ran", "flagged"),
    [(1, "fp32", "f32", True), (1, "fp16", "f16", True), (0, "fp32", "f32", False), (0, "int8", "f32", False)],
)
def test_a_picture_off_by_one_code_is_judged_by_precision(off: int, precision: str, ran: str, flagged: bool) -> None:
    """The PSNR is 48.1 dB, below the limits of 60 and 50 dB."""
    picture = np.full((16, 16, 3), 100, np.uint8)
    score = compare(Case("p", picture, picture), picture + np.uint8(off))
    found = judge([score], limits_of(precision, ran), "r")
    assert bool(found.failures) == flagged
    assert found.psnr_min == (None if off == 0 else pytest.approx(20 * math.log10(255)))
    assert (found.reference, found.pictures, found.max_code) == ("r", 1, off)


def test_bf16_has_the_limits_of_fp16() -> None:
    picture = np.full((16, 16, 3), 100, np.uint8)
    near = picture.copy()
    near[:4] += 1  # 54 dB: below what is asked of fp32
    score = compare(Case("p", picture, picture), near)
    assert judge([score], limits_of("fp32", "f32"), "r").failures
    assert not judge([score], limits_of("fp32", "bf16"), "r").failures
    assert limits_of("int8", "bf16") == THRESHOLDS["int8"]


def test_the_environment_of_a_jetson(tmp_path: Path) -> None:
    for name, text in {
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano\0",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n",
        "proc/meminfo": "MemTotal:        7802000 kB\nMemFree: 1 kB\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "schedutil\n",
        "sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
        "sys/class/devfreq/17000000.gpu/max_freq": "624750000\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert board(tmp_path) == "NVIDIA Jetson Orin Nano"
    assert cpu(tmp_path) == "ARMv8 Processor rev 1 (v8l)"
    assert memory(tmp_path) == 7802000 * 1024
    found = power(tmp_path)
    assert found["governor"] == "schedutil"
    assert found["17000000.gpu Hz"] == "306000000"
    assert found["17000000.gpu Hz, most"] == "624750000"


def test_the_tools_of_a_jetson_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvpmodel prints its answer and ends; tegrastats never ends."""
    for name, script in {
        "nvpmodel": "echo 'NV Power Mode: 15W'; echo 0",
        "tegrastats": "while true; do echo 'RAM 1/2MB CPU [1%@729]'; sleep 0.05; done",
        "nvidia-smi": "echo 'NVIDIA H200, 570.1'",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    environment = describe_environment()
    assert environment.variables["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "PATH" not in environment.variables
    assert environment.power["nvpmodel"] == "NV Power Mode: 15W / 0"
    assert environment.power["tegrastats"] == "RAM 1/2MB CPU [1%@729]"
    assert environment.gpus == ("NVIDIA H200, driver 570.1",)
    assert environment.cores >= 1
    assert environment.libraries["numpy"] == np.__version__


def test_a_busy_or_drifting_machine_is_warned_of(tmp_path: Path) -> None:
    calm = make_row(inference_ns=(10,) * 9)
    assert warnings_of(Quiet(load_before=0.0, load_after=2.0, others_cores=0.0), (calm,)) == ()
    drifting = make_row(inference_ns=(10, 10, 10, 11, 11, 11, 12, 12, 12), idle_cpu_share=0.5)
    said = " | ".join(warnings_of(Quiet(load_before=500.0, load_after=2.0, others_cores=0.3), (drifting,)))
    for part in ("load 500.00", "0.30 cores busy during", "1.20 times as long", "kept 0.50 cores busy"):
        assert part in said
    slower, faster = make_row(inference_ns=(10,) * 6 + (14,) * 3), make_row(inference_ns=(10,) * 6 + (8,) * 3)
    quiet = Quiet(load_before=0.0, load_after=0.0, others_cores=0.0)
    first, second, _ = warnings_of(quiet, (drifting, slower, calm, faster))
    assert "2 rows became slower: their last third took 1.20 to 1.40 times" in first
    assert "its last third took 0.80 times" in second
    (tmp_path / "stat").write_text("cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 1\n")
    assert busy_seconds(tmp_path / "stat") == pytest.approx((100 + 20 + 30 + 6 + 7 + 8) / 100)


def test_the_load_of_other_programs_excludes_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = iter([0.0, 100.0, 106.0])  # seconds at the start, at the restart and at the end
    clock = iter([0.0, 10.0, 14.0])
    monkeypatch.setattr("benchmarks.busy.busy_seconds", lambda: next(busy))
    monkeypatch.setattr("benchmarks.busy.time.perf_counter", lambda: next(clock))
    watch = Watch()
    watch.restart()
    assert watch.finish(own_seconds=4.0).others_cores == pytest.approx((6 - 4) / 4)


def test_tables_show_ratio_and_psnr_of_every_row() -> None:
    torch = make_row(subject="s, PyTorch", kind="pytorch", format="PyTorch", inference_ns=(40 * MS,) * 5)
    folded = make_row(subject="s, PyTorch folded", kind="pytorch", format="PyTorch folded", inference_ns=(20 * MS,) * 5)
    half = make_row(subject="h.xml", ran="bf16", inference_ns=(10 * MS,) * 5)
    peer = make_row(subject="peer p.onnx", kind="peer", check=None, inference_ns=(30 * MS,) * 5)
    other = make_row(subject="o.onnx", shape=(1, 16, 16), inference_ns=(30 * MS,) * 5)
    report = make_report(torch, folded, half, peer, other)
    block = blocks(report)[0]
    lines = {line[0]: dict(zip(block.columns, line, strict=True)) for line in block.lines}
    assert {name: line["ratio"] for name, line in lines.items()} == {
        "s, PyTorch": "1.00",
        "s, PyTorch folded": "0.50",
        "h.xml": "0.25",
        "peer p.onnx": "0.75",
    }
    assert lines["h.xml"]["to folded"] == "0.50"
    assert lines["h.xml"]["precision"] == "fp32 as bf16"
    assert lines["h.xml"]["PSNR"] == "61.5 dB"
    assert lines["peer p.onnx"]["PSNR"] == "another network"
    assert blocks(report)[2].lines[0][7] == ""  # PyTorch did not run at that shape
    assert "PyTorch (eager, as trained)" in markdown(report)
    alone = markdown(make_report(half))
    assert "first row of the same conditions (h.xml)" in alone


def test_a_verdict_names_its_arithmetic_where_it_differs() -> None:
    verdict = dataclasses.replace(make_verdict(), device="CPU, f32")
    assert parity(make_row(ran="f32", verdict=verdict)) == "passed, measured"
    assert parity(make_row(ran="bf16", verdict=verdict)) == "passed in f32, measured"
    assert parity(make_row(verdict=Verdict.not_run("fp32"))) == "not run"
    assert parity(make_row()) == ""


def test_a_failed_check_is_flagged() -> None:
    check = Likeness(reference="r", pictures=1, psnr_min=20.0, max_code=90, failures=("noise: PSNR 20.00 dB",))
    report = make_report(make_row(check=check))
    assert blocks(report)[0].flagged == [True]
    assert "FLAGGED m.onnx: noise: PSNR 20.00 dB" in markdown(report)
