"""The parity check: equal pictures pass, and every planted fault is found and named."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from skimage import data
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio

import runtimes
from export.parity import ParityError, Report, check, report_table, require
from runtimes import FORMAT_VERSION, ArtifactError, ImageSpec, ShapeSet, Verdict, Version
from runtimes.golden import Case, Golden, Rounding, extreme_images, golden_path
from runtimes.image import Pixels, resize, to_uint8
from runtimes.likeness import THRESHOLDS, Thresholds, compare
from tests.tiny_models import ANY_SHAPE, NumpyRuntime, make_spec, write_gain

GAIN = 0.8
RNG = np.random.default_rng(0)


def answer(image: NDArray[Any]) -> Pixels:
    """The "float32 network" of these tests."""
    return to_uint8(image / 255 * GAIN)


def golden(*sizes: tuple[int, int]) -> Golden:
    cases = []
    for h, w in sizes or [(32, 48)]:
        images = extreme_images(h, w) | {"photo": resize(np.asarray(data.astronaut()), h, w)}
        cases += [Case(name, image, answer(image)) for name, image in images.items()]
    return Golden(tuple(cases))


def runtime(
    change: Callable[[NDArray[Any]], NDArray[Any]] = lambda y: y, spec: ImageSpec | None = None
) -> NumpyRuntime:
    """The network in float32, with `change` applied to its N x 3 x H x W output."""
    return NumpyRuntime(lambda x: change(x * np.float32(GAIN)).astype(np.float32), spec)


# Scores


def test_scores_equal_independent_formulas() -> None:
    image = RNG.integers(0, 256, (40, 56, 3), np.uint8)
    produced = np.clip(image.astype(int) + RNG.integers(-3, 4, image.shape), 0, 255).astype(np.uint8)
    produced[:20] = image[:20]
    score = compare(Case("random", np.zeros_like(image), image), produced)
    difference = produced.astype(float) - image
    de = deltaE_ciede2000(rgb2lab(produced), rgb2lab(image))
    assert score.name == "random at 1x40x56"
    assert score.finite
    assert score.psnr == pytest.approx(peak_signal_noise_ratio(image, produced, data_range=255))
    assert score.max_code == 3
    assert score.share_over_1 == np.mean(np.abs(difference).max(axis=2) > 1)
    assert score.bias == pytest.approx(difference.reshape(-1, 3).mean(axis=0))
    assert score.bias_max == max(map(abs, score.bias))
    assert score.de_mean == pytest.approx(de.mean(), abs=1e-6)
    assert score.de_p99 == pytest.approx(np.percentile(de, 99), abs=1e-6)


def test_floats_are_clamped_and_rounded() -> None:
    expected = RNG.integers(0, 256, (16, 16, 3), np.uint8)
    expected[0] = 255
    values = expected / 255
    values[0] = 1.7
    score = compare(Case("a", expected, expected), values + 0.4 / 255)
    assert (score.psnr, score.max_code, score.de_mean, score.bias) == (None, 0, 0.0, (0.0, 0.0, 0.0))
    assert compare(Case("a", expected, expected), values - 0.6 / 255).max_code == 1


def test_another_shape_is_refused() -> None:
    image = np.zeros((16, 24, 3), np.uint8)
    with pytest.raises(ArtifactError, match=r"should have shape \(16, 24, 3\) but has \(24, 16, 3\)"):
        compare(Case("a", image, image), np.zeros((24, 16, 3)))


# Planted faults


@pytest.mark.parametrize("precision", sorted(THRESHOLDS))
def test_equal_pictures_pass(precision: str) -> None:
    report = check(runtime(spec=make_spec(precision=precision)), golden())
    verdict = report.verdict
    assert verdict.passed
    assert (verdict.psnr_min, verdict.psnr_mean, verdict.max_code, verdict.de_p99) == (None, None, 0, 0.0)
    assert (verdict.label, verdict.runtime, verdict.device, verdict.precision) == (
        "measured",
        "numpy",
        "cpu",
        precision,
    )
    assert verdict.cases == len(report.scores) == 12 + 2 + 2  # and two batches of two
    require(report, Path("model.onnx"))


def _one_pixel(y: NDArray[Any]) -> NDArray[Any]:
    """An error of two codes in one value of one picture."""
    y = y.copy()
    y[0, 1, 5, 7] += 2 / 255
    return y


def _half(y: NDArray[Any]) -> NDArray[Any]:
    """A colour cast of half a code: half of the pixels are one code bluer."""
    y = y.copy()
    y[:, 2, ::2] += 1 / 255
    return y


FAULTS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "swapped channels": lambda y: y[:, ::-1],
    "shift by one pixel": lambda y: np.roll(y, 1, axis=3),
    "one per cent darker": lambda y: y * 0.99,
    "transposed content": lambda y: y[:, :, ::-1],
    "NaN": lambda y: np.where(y > 0.7, np.nan, y),
    "infinity": lambda y: np.where(y > 0.7, np.inf, y),
    "black": lambda y: y * 0,
    "noise": lambda y: y + np.random.default_rng(0).normal(0, 0.03, y.shape),
}


@pytest.mark.parametrize("precision", sorted(THRESHOLDS))
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_caught(fault: str, precision: str) -> None:
    report = check(runtime(FAULTS[fault], make_spec(precision=precision)), golden())
    assert not report.verdict.passed
    assert report.verdict.failures


def test_a_single_value_is_caught_in_fp32() -> None:
    report = check(runtime(_one_pixel), golden())
    assert not report.verdict.passed
    assert report.verdict.max_code == 2
    assert "the largest difference should be at most 1 but is 2 codes" in report.verdict.failures[0]


def test_a_slight_cast_is_caught_in_every_precision() -> None:
    fp16 = check(runtime(_half, make_spec(precision="fp16")), golden()).verdict
    assert not fp16.passed
    assert fp16.bias_max == pytest.approx(0.5)
    assert any("the bias of a channel should be at most 0.25 but is 0.5 codes" in failure for failure in fp16.failures)
    fp32 = check(runtime(_half), golden()).verdict
    assert fp32.max_code == 1  # single differences of one code are allowed
    assert any("the bias of a channel should be at most 0.05 but is 0.5 codes" in failure for failure in fp32.failures)
    stronger = check(
        runtime(lambda y: y + np.float32([[[0]], [[0]], [[0.9 / 255]]]), make_spec(precision="int8")), golden()
    )
    assert any("the bias of a channel" in failure for failure in stronger.verdict.failures)


def test_a_flat_picture_one_code_off_passes_in_version_1_0_alone() -> None:
    """An error of 0.02 code can change every rounded pixel of a flat picture, but hardly any of a photograph."""
    flat, photo = np.full((32, 48, 3), 100, np.uint8), resize(np.asarray(data.astronaut()), 32, 48)
    cases = Golden((Case("flat", flat, flat), Case("photo", photo, photo)))

    def verdict(codes: float, version: Version, limits: Thresholds | None = None) -> Verdict:
        """The report on an artifact with that error in its flat pictures and none in its photographs."""
        spec = make_spec(precision="fp16", format_version=version)
        off = np.float32(codes / 255)
        network = NumpyRuntime(
            lambda x: np.where((x == x[:, :, :1, :1]).all((1, 2, 3), keepdims=True), x + off, x), spec
        )
        return check(network, cases, thresholds=limits).verdict

    old = Version(1, 0)
    assert verdict(0.51, old).passed
    assert verdict(0.51, old).bias_max == 1
    assert not verdict(0.51, old, Thresholds(max_code=0)).passed
    assert not verdict(1.6, old).passed
    for version in (Version(1, 1), FORMAT_VERSION):
        assert verdict(0.49, version).passed
        assert {failure.split(":")[0] for failure in verdict(0.51, version).failures} == {
            "flat at 1x32x48",
            "flat at 2x32x48",
        }


def test_nan_is_named_even_where_black_is_expected() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    report = check(NumpyRuntime(lambda x: x + np.float32(np.nan)), Golden((Case("black", image, image),)))
    assert report.verdict.failures[0] == "black at 1x16x16: the output should be finite but has NaN or infinity"
    assert report.verdict.worst == "black at 1x16x16"
    json.dumps(report.to_dict(), allow_nan=False)


def test_every_failing_case_is_named_with_its_number() -> None:
    report = check(runtime(lambda y: y * 0.99, make_spec(precision="fp16")), golden())
    psnr = {score.name: score.psnr for score in report.scores}
    assert (
        f"white at 1x32x48: PSNR should be at least 50 dB but is {psnr['white at 1x32x48']:.2f} dB"
        in report.verdict.failures
    )
    assert report.verdict.worst == min((name for name in psnr if psnr[name]), key=lambda name: psnr[name] or 0)
    assert not [failure for failure in report.verdict.failures if failure.startswith("black")]


# Shapes and batches


def _shared_statistics(y: NDArray[Any]) -> NDArray[Any]:
    """Uses one mean for the whole batch instead of one for each picture."""
    return y + 0.1 * (y.mean() - y.mean(axis=(1, 2, 3), keepdims=True))


def test_a_statistic_shared_across_the_batch_is_caught() -> None:
    alone = check(runtime(_shared_statistics, make_spec(ShapeSet.of((1, 32, 48)))), golden())
    assert alone.verdict.passed
    for shapes in (ANY_SHAPE, ShapeSet.of((2, 32, 48)), ShapeSet.of((1, 32, 48), (4, 32, 48))):
        report = check(runtime(_shared_statistics, make_spec(shapes)), golden())
        assert not report.verdict.passed


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        (ShapeSet.of((1, 32, 48)), [(1, 32, 48)]),
        (ShapeSet.of((5, 32, 48)), [(5, 32, 48)]),
        (ShapeSet.of((1, 32, 48), (3, 32, 48), (2, 64, 32)), [(1, 32, 48), (2, 64, 32), (3, 32, 48)]),
        (ANY_SHAPE, [(1, 32, 48), (1, 64, 32), (2, 32, 48), (2, 64, 32)]),
        (ShapeSet.between((1, 16, 16), (1, 64, 64), (1, 64, 64)), [(1, 32, 48), (1, 64, 32)]),
        (ShapeSet.between((3, 16, 16), (3, 64, 64), (4, 64, 64)), [(3, 32, 48), (3, 64, 32)]),
    ],
)
@pytest.mark.parametrize("ends", ["float32", "uint8"])
def test_every_declared_shape_is_run(shapes: ShapeSet, expected: list[tuple[int, int, int]], ends: str) -> None:
    sizes = sorted({shape[1:] for shape in expected})
    network = NumpyRuntime(lambda x: x, make_spec(shapes, io=ends))
    cases = [Case(name, image, image) for size in sizes for name, image in extreme_images(*size).items()]
    report = check(network, Golden(tuple(cases)))
    assert report.verdict.passed
    axes = (0, 1, 2) if ends == "uint8" else (0, 2, 3)
    assert sorted({tuple(batch.shape[axis] for axis in axes) for batch in network.seen}) == expected
    seen = {score.name for score in report.scores}
    assert {f"{case.name} at {n}x{h}x{w}" for case in cases for n, h, w in shapes.fixed if case.size == (h, w)} <= seen


def test_a_case_of_an_unknown_size_is_refused() -> None:
    fixed = runtime(spec=make_spec(ShapeSet.of((1, 32, 48))))
    with pytest.raises(ArtifactError, match=r"among 1x32x48 .* but 'black' has 64x64"):
        check(fixed, golden((32, 48), (64, 64)))
    with pytest.raises(ArtifactError, match="but has none for 1x32x48"):
        check(fixed, golden((64, 64)))
    with pytest.raises(ArtifactError, match="but 'black' has 600x16"):
        check(runtime(), golden((600, 16)))


def test_own_thresholds_and_label() -> None:
    report = check(runtime(_half), golden(), label="predicted", thresholds=Thresholds(max_code=0))
    assert report.verdict.label == "predicted"
    assert not report.verdict.passed


# Through a real backend


@pytest.mark.parametrize("ends", ["float32", "uint8"])
@pytest.mark.parametrize("shapes", [ANY_SHAPE, ShapeSet.of((2, 32, 48))])
def test_through_onnxruntime(tmp_path: Path, ends: str, shapes: ShapeSet) -> None:
    with runtimes.load(write_gain(tmp_path / "good.onnx", make_spec(shapes, io=ends), GAIN)) as good:
        report = check(good, golden())
        assert report.verdict.passed
        assert report.verdict.runtime.startswith("onnxruntime ")
    with runtimes.load(write_gain(tmp_path / "bad.onnx", make_spec(shapes, io=ends), GAIN * 0.99)) as bad:
        assert not check(bad, golden()).verdict.passed


def test_the_verdict_travels_in_the_spec() -> None:
    for change in (FAULTS["noise"], FAULTS["NaN"], lambda y: y):
        verdict = check(runtime(change), golden()).verdict
        spec = make_spec(parity=verdict)
        assert ImageSpec.from_json(spec.to_json()) == spec


# Reports


def test_require_names_file_input_and_number() -> None:
    report = check(runtime(lambda y: y * 0.99), golden())
    with pytest.raises(ParityError) as caught:
        require(report, Path("model.onnx"))
    message = str(caught.value)
    assert message.startswith("model.onnx should pass its parity check ")
    assert f"{report.verdict.failures[0]} (and {len(report.verdict.failures) - 1} more); " in message
    assert "\n" not in message
    assert caught.value.report is report


def test_report_as_json_and_table() -> None:
    report = check(runtime(FAULTS["NaN"]), golden())
    stored = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert stored["verdict"]["passed"] is False
    assert len(stored["scores"]) == len(report.scores)
    text = _printed(report)
    assert "parity FAILED: fp32, numpy on cpu, measured" in text
    assert "white at 1x32x48" in text
    assert "parity passed" in _printed(check(runtime(), golden()))
    assert "at least 60 dB" in _printed(check(runtime(), golden()))
    assert "identical" in _printed(check(runtime(), golden()))
    rounded = dataclasses.replace(golden(), rounding=Rounding(0.00123, 101.26))
    assert "float32 against float64: up to 0.0012 codes, 101.3 dB" in _printed(check(runtime(), rounded))
    assert "float64" not in text


def _printed(report: Report) -> str:
    console = Console(width=200, file=io.StringIO())
    with console.capture() as capture:
        console.print(report_table(report))
    return capture.get()


# Golden files


def test_golden_round_trip(tmp_path: Path) -> None:
    path = golden_path(tmp_path / "model.fp16.onnx")
    assert path.name == "model.fp16.onnx.golden.npz"
    before = golden((32, 48), (16, 24))
    before.save(path)
    after = Golden.load(path)
    for old, new in zip(before.cases, after.cases, strict=True):
        assert old.name == new.name
        np.testing.assert_array_equal(old.image, new.image)
        np.testing.assert_array_equal(old.expected, new.expected)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert Golden.load(path).rounding is None
    rounded = dataclasses.replace(before, rounding=Rounding(0.001, 101.5))
    rounded.save(tmp_path / "r.npz")
    assert Golden.load(tmp_path / "r.npz").rounding == rounded.rounding
    first = path.read_bytes()
    before.save(path)
    assert path.read_bytes() == first
    assert len(first) < 60_000  # the flat pictures cost next to nothing


def test_missing_golden(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"m\.golden\.npz should hold the golden pictures but does not exist"):
        Golden.load(tmp_path / "m.golden.npz")


@pytest.mark.parametrize(
    "kind", ["empty", "text", "truncated", "npy", "pickle", "no names", "no picture", "sizes", "none"]
)
def test_damaged_golden(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m.golden.npz"
    golden().save(path)
    whole = path.read_bytes()
    with np.load(path) as arrays:
        parts = dict(arrays)
    with path.open("wb") as file:
        if kind in {"empty", "text", "truncated"}:
            file.write({"empty": b"", "text": b"hello", "truncated": whole[: len(whole) // 2]}[kind])
        elif kind == "npy":
            np.save(file, np.zeros(3))
        elif kind == "pickle":
            np.savez(file, names=np.array([{}], dtype=object))
        elif kind == "no names":
            np.savez(file, image_0=parts["image_0"])
        elif kind == "no picture":
            np.savez(file, **(parts | {"image_3": np.zeros(10, np.uint8)}))
        elif kind == "sizes":
            golden((16, 16)).save(tmp_path / "other.npz")
            with np.load(tmp_path / "other.npz") as other:
                np.savez(file, **(parts | {"image_3": other["image_3"]}))
        else:
            np.savez(file, names=np.array([], dtype=str))
    with pytest.raises(ArtifactError, match=r"m\.golden\.npz should hold golden pictures but does not") as caught:
        Golden.load(path)
    assert "\n" not in str(caught.value)


def test_cases_that_do_not_fit() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    for other in (image[:8], image.astype(np.float32), image[..., 0]):
        with pytest.raises(ArtifactError, match="two uint8 H x W x 3 pictures of one shape"):
            Case("a", image, other)
    case = Case("a", image, image)
    with pytest.raises(ArtifactError, match="each of its own name and size"):
        Golden((case, dataclasses.replace(case)))


def test_extreme_images() -> None:
    images = extreme_images(24, 40)
    assert all(image.shape == (24, 40, 3) and image.dtype == np.uint8 for image in images.values())
    assert {"black", "white", "red", "green", "blue", "cyan", "magenta", "yellow", "ramp", "checker", "noise"} == set(
        images
    )
    assert (images["ramp"][0, 0] == 0).all()
    assert (images["ramp"][-1, -1] == 255).all()
    assert set(np.unique(images["checker"])) == {0, 255}
    np.testing.assert_array_equal(images["noise"], extreme_images(24, 40)["noise"])
    assert tuple(images["yellow"][3, 3]) == (255, 255, 0)


def test_rows_that_depend_on_their_batch_are_found() -> None:
    images = [np.random.default_rng(seed).integers(40, 200, (16, 24, 3), np.uint8) for seed in (0, 1)]
    golden = Golden(tuple(Case(name, image, image) for name, image in zip("ab", images, strict=True)))
    lax = Thresholds(max_code=3)

    def rows(function: Callable[..., NDArray[Any]]) -> tuple[str, ...]:
        spec = make_spec(ShapeSet.between((1, 16, 16), (1, 16, 24), (4, 32, 32)))
        return check(NumpyRuntime(function, spec), golden, thresholds=lax).verdict.failures

    def shifted(batch: NDArray[Any], codes: float) -> NDArray[Any]:
        """The second of equal rows differs."""
        made = batch.copy()
        if len(batch) > 1 and (batch[0] == batch[1]).all():
            made[1] += codes / 255
        return made

    assert rows(lambda batch: batch) == ()
    assert rows(lambda batch: shifted(batch, 1)) == ()
    (failure,) = rows(lambda batch: shifted(batch, 2))
    assert failure.startswith(
        "a at 2x16x24: equal rows of a batch, the largest difference should be at most 1 but is 2"
    )

    # Towards the answer that is expected, both keep the limits, but not towards each other.
    failures = rows(lambda batch: batch + (2 if len(batch) > 1 else -2) / np.float32(255))
    assert [failure.split(",")[0] for failure in failures] == [
        f"{name} at 2x16x24: alone and beside other pictures" for name in "ab"
    ]
