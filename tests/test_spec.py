"""The spec: what goes through JSON unchanged, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from runtimes import FORMAT_VERSION, ArtifactError, ImageSpec, ShapeSet, Verdict
from runtimes.likeness import CaseScore
from tests.tiny_models import make_spec

RANGE = ShapeSet.between((1, 16, 16), (1, 256, 256), (8, 4096, 4096))
FIXED = ShapeSet.of((1, 256, 256), (4, 512, 384))
VERDICT = Verdict(
    label="measured",
    passed=False,
    runtime="onnxruntime 1.32.0",
    device="CPUExecutionProvider",
    precision="int8",
    psnr_min=37.5,
    psnr_mean=41.0,
    max_code=12,
    share_over_1=0.25,
    bias_max=0.125,
    de_mean=0.5,
    de_p99=2.0,
    cases=3,
    worst="noise at 1x16x16",
    failures=("noise at 1x16x16: PSNR should be at least 38 dB but is 37.50 dB",),
)


@pytest.mark.parametrize("shapes", [RANGE, FIXED])
@pytest.mark.parametrize("io", ["float32", "uint8"])
@pytest.mark.parametrize("parity", [None, VERDICT, Verdict.not_run("fp16")])
def test_json_round_trip(shapes: ShapeSet, io: str, parity: Verdict | None) -> None:
    spec = make_spec(shapes, io=io, parity=parity, tools={"onnx": "1.23"}, precision="int8", input_name="picture")
    assert ImageSpec.from_json(spec.to_json()) == spec


def test_type_and_layout_follow_io() -> None:
    pixels, floats = make_spec(io="uint8"), make_spec(io="float32")
    assert (pixels.dtype, pixels.layout) == ("uint8", "NHWC")
    assert (floats.dtype, floats.layout) == ("float32", "NCHW")


def test_shapes_for_people() -> None:
    assert str(RANGE) == "1..8 x 16..4096 x 16..4096, multiples of 8"
    assert str(FIXED) == "1x256x256, 4x512x384"
    assert str(ShapeSet.between((1, 64, 64), (1, 64, 64), (1, 64, 128))) == "1 x 64 x 64..128, multiples of 8"


@pytest.mark.parametrize(
    ("shapes", "shape", "accepted"),
    [
        (RANGE, (1, 16, 4096), True),
        (RANGE, (8, 24, 32), True),
        (RANGE, (9, 24, 32), False),
        (RANGE, (0, 24, 32), False),
        (RANGE, (1, 8, 32), False),
        (RANGE, (1, 4104, 32), False),
        (RANGE, (1, 20, 32), False),
        (FIXED, (4, 512, 384), True),
        (FIXED, (1, 512, 384), False),
        (FIXED, (4, 384, 512), False),
    ],
)
def test_accepts(shapes: ShapeSet, shape: tuple[int, int, int], accepted: bool) -> None:
    assert shapes.accepts(*shape) is accepted


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "exactly one form"),
        ({"minimum": (1, 16, 16)}, "exactly one form"),
        ({"fixed": ((1, 16, 16),), "maximum": (1, 16, 16)}, "exactly one form"),
        ({"fixed": ((1, 20, 16),)}, "1x20x16; round its sides to multiples of 8"),
        ({"fixed": ((0, 16, 16),)}, "N at least 1"),
        ({"fixed": ((1, 16, 16),), "multiple": 0}, "multiple should be at least 1"),
        ({"minimum": (1, 32, 16), "optimum": (1, 16, 16), "maximum": (1, 64, 64)}, "should be in ascending order"),
    ],
)
def test_unusable_shapes(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        ShapeSet(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"io": "float16"}, "io should be one of float32, uint8 but is 'float16'"),
        ({"colour": "BGR"}, "colour should be one of RGB"),
        ({"precision": "bf16"}, "precision should be one of fp32, fp16, int8"),
        ({"multiple": 16}, "multiple should be that of its shapes, 8, but is 16"),
        ({"minimum": 64}, "sides of at least 64 px but one has 16 px"),
    ],
)
def test_unusable_spec(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        make_spec(**fields)


def test_a_verdict_has_the_worst_number_of_each_kind() -> None:
    numbers = np.random.default_rng(0).random((5, 7))
    scores = [
        CaseScore(f"case {i}", True, 40 + a, int(100 * b), c, (d, -e, 0.0), f, g)
        for i, (a, b, c, d, e, f, g) in enumerate(numbers.tolist())
    ]
    scores.append(dataclasses.replace(scores[0], name="same", psnr=None))
    about = {"label": "measured", "runtime": "r", "device": "d", "precision": "fp16"}
    verdict = Verdict.of(scores, [], **about)
    psnr, code, share, red, green, mean, p99 = numbers.T
    assert (verdict.psnr_min, verdict.psnr_mean) == pytest.approx((40 + psnr.min(), 40 + psnr.mean()))
    assert (verdict.max_code, verdict.share_over_1) == (int(100 * code.max()), share.max())
    assert verdict.bias_max == max(red.max(), green.max())
    assert (verdict.de_mean, verdict.de_p99) == (mean.max(), p99.max())
    assert (verdict.worst, verdict.cases, verdict.passed) == (f"case {psnr.argmin()}", 6, True)
    assert (verdict.runtime, verdict.device, verdict.precision) == ("r", "d", "fp16")
    failed = Verdict.of([*scores, dataclasses.replace(scores[1], name="nan", finite=False)], ["nan: no"], **about)
    assert (failed.worst, failed.passed, failed.failures) == ("nan", False, ("nan: no",))


def test_a_failed_verdict_is_no_pass() -> None:
    with pytest.raises(ArtifactError, match="run the parity check again"):
        dataclasses.replace(VERDICT, passed=True)
    with pytest.raises(ArtifactError, match="label should be one of measured, predicted, not run"):
        dataclasses.replace(VERDICT, label="guessed")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("width", True, "field width should be a whole number from 0 but is true"),
        ("tools", {"onnx": 1}, "field tools.onnx should be a string"),
        ("shapes", [], "field shapes should be an object"),
        ("shapes", {"fixed": [[1, 16]]}, r"field shapes.fixed\[0\] should be a list of 3"),
        ("shapes", {"fixed": [[1, 16, 16]], "optimum": [1, 16, 16]}, "exactly one form"),
        ("shapes", {"fixed": [[1, 16, 16]], "least": [1, 16, 16]}, "has shapes.least"),
        ("parity", "passed", 'field parity should be an object but is "passed"'),
        ("parity", {}, "should have the field parity.label"),
        ("format_version", 2, "is of version 2.0; upgrade bncagan"),
        ("format_version", "2.0", "is of version 2.0; upgrade bncagan"),
        ("format_version", None, "should have a version"),
        ("surprise", 1, "only the fields of its version but has surprise"),
    ],
)
def test_wrong_field(name: str, value: object, message: str) -> None:
    fields = json.loads(make_spec().to_json()) | {name: value}
    with pytest.raises(ArtifactError, match=f"^the spec.*{message}"):
        ImageSpec.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    "name", ["format_version", "model", "width", "io", "shapes", "precision", "weights_sha256", "parity.psnr_min"]
)
def test_missing_field(name: str) -> None:
    fields = json.loads(make_spec(parity=VERDICT).to_json())
    *inside, last = name.split(".")
    del (fields["parity"] if inside else fields)[last]
    with pytest.raises(ArtifactError, match=f"^the spec should have .*{name if inside else 'version'}|{name}"):
        ImageSpec.from_json(json.dumps(fields))


def test_versions() -> None:
    fields = json.loads(make_spec(RANGE, parity=VERDICT).to_json())
    assert fields["format_version"] == str(FORMAT_VERSION)
    old = ImageSpec.from_json(json.dumps(fields | {"format_version": 1}))
    assert old.format_version == (1, 0) < make_spec().format_version == FORMAT_VERSION
    assert dataclasses.replace(old, format_version=FORMAT_VERSION) == make_spec(RANGE, parity=VERDICT)
    newer = {"format_version": "1.99", "surprise": 1, "parity": fields["parity"] | {"surprise": 2}}
    assert ImageSpec.from_json(json.dumps(fields | newer)).format_version == (1, 99)


@pytest.mark.parametrize("multiple", [1, 4, 16])
def test_the_shapes_have_the_multiple_of_the_spec(multiple: int) -> None:
    spec = make_spec(ShapeSet.of((1, 16, 16 + multiple), multiple=multiple), multiple=multiple)
    assert ImageSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"model": 1, "model": 2}', '{"width": Infinity}']
)
def test_malformed_text(text: str) -> None:
    with pytest.raises(ArtifactError, match="the spec should be a JSON object but") as caught:
        ImageSpec.from_json(text)
    assert "\n" not in str(caught.value)
