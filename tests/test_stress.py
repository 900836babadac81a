"""The stress test as a whole: each planted fault fails exactly its own check; the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from bncagan.cli import main
from bncagan.cli.stress import Stress
from bncagan.config import ModelConfig
from bncagan.evaluation.metrics import LUMA, mean_luma
from bncagan.evaluation.stress.ladder import STOPS, rendered
from bncagan.evaluation.stress.outcome import Outcome, Strip, summary_of
from bncagan.evaluation.stress.photographs import Photographs, ranked
from bncagan.evaluation.stress.run import enhancements, stress
from bncagan.evaluation.stress.sheet import write_picture
from bncagan.network.checkpoint import save_generator
from bncagan.network.model import Generator
from runtimes.errors import InputError
from runtimes.image import Pixels
from tests.folders import picture, write_pictures

LEVELS = np.arange(256)
CHECKS = ["colour cast", "halo", "monotony", "already good", "enhancing again"]
CHECKS += ["intent", "exposure ladder", "amplification", "size"]


@cache
def photographs() -> Photographs:
    good = {f"{seed}": picture(seed, 96, 120) for seed in range(3)}
    return Photographs(good, good, {"large": picture(3, 300, 400)}, {"night": picture(4, 96, 120) // 6})


@cache
def at_stops() -> dict[bytes, tuple[int, Pixels]]:
    """The stops and the original of each picture of the exposure ladder."""
    exposed = photographs().exposed.values()
    return {rendered(pixels, stops).tobytes(): (stops, pixels) for pixels in exposed for stops in STOPS}


def perfect(pixels: Pixels) -> Pixels:
    """Undoes the exposures of the ladder and changes nothing else."""
    return at_stops().get(pixels.tobytes(), (0, pixels))[1].copy()


def unchanged(pixels: Pixels) -> Pixels:
    return pixels.copy()


def is_flat(pixels: Pixels) -> bool:
    """Whether a picture has one colour."""
    return bool((pixels == pixels[0, 0]).all())


def is_dark(pixels: Pixels) -> bool:
    """Whether a picture is a dark photograph: not a frame without light."""
    return 3 < mean_luma(pixels) < 60 and not is_flat(pixels)


def brighter(pixels: Pixels, codes: int) -> Pixels:
    return np.clip(pixels.astype(int) + codes, 0, 255).astype(np.uint8)


def tinted(pixels: Pixels) -> Pixels:
    """Pictures without colour become warm."""
    return (
        brighter(pixels, np.array([9, 0, -9])) if np.ptp(pixels, axis=2).max() == 0 and not is_flat(pixels) else pixels
    )


def sharpened(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(radius=3, percent=40, threshold=16)))


def folded_ramp(pixels: Pixels) -> Pixels:
    """Levels 118 to 122 fall to 110, below the levels before them; a second time changes nothing."""
    return np.where((LEVELS >= 118) & (LEVELS <= 122), 110, LEVELS).astype(np.uint8)[pixels]


def lifted(pixels: Pixels) -> Pixels:
    """A large change of good photographs the first time, and none after it."""
    return np.maximum(pixels, 140) if pixels.shape == (96, 120, 3) and mean_luma(pixels) > 60 else pixels


def ever_brighter(pixels: Pixels) -> Pixels:
    return brighter(pixels, 10) if mean_luma(pixels) > 3 and not is_flat(pixels) else pixels


def ever_more_contrast(pixels: Pixels) -> Pixels:
    """A change that is small enough for a good photograph, but grows each time."""
    more = np.clip(np.round((pixels - 127.5) * 1.12 + 127.5), 0, 255).astype(np.uint8)
    return pixels if is_flat(pixels) else more


def night_as_day(pixels: Pixels) -> Pixels:
    return brighter(pixels, 30) if is_dark(pixels) else pixels


def haze(pixels: Pixels) -> Pixels:
    """Dark pictures lose their shadows; this changes a photograph little."""
    return np.maximum(pixels, 24) if is_dark(pixels) else pixels


def light_leak(pixels: Pixels) -> Pixels:
    return brighter(pixels, 6) if 0 < mean_luma(pixels) < 3 else pixels


def off_by_one(pixels: Pixels) -> Pixels:
    return brighter(pixels, 1) if is_flat(pixels) else pixels


def high_pass(pixels: Pixels) -> Pixels:
    """Noise without edges: what a median takes away, H x W x 3."""
    return pixels.astype(int) - np.asarray(Image.fromarray(pixels).filter(ImageFilter.MedianFilter(3)))


def more_luma_noise(pixels: Pixels) -> Pixels:
    return brighter(pixels, np.round(0.6 * (high_pass(pixels) @ LUMA)[..., None]).astype(int))


def more_chroma_noise(pixels: Pixels) -> Pixels:
    noise = high_pass(pixels)
    return brighter(pixels, np.round(0.6 * (noise - (noise @ LUMA)[..., None])).astype(int))


def brighter_when_large(pixels: Pixels) -> Pixels:
    return brighter(pixels, 3) if max(pixels.shape) == 400 else pixels


def grain_when_large(pixels: Pixels) -> Pixels:
    """Half of the rows brighter and half of them darker: the same luma, other colours."""
    change = np.where(np.arange(len(pixels)) % 40 < 20, 12, -12)[:, None, None]
    return brighter(pixels, change) if max(pixels.shape) == 400 else pixels


def exposed_to(codes: dict[int, int]) -> Callable[[Pixels], Pixels]:
    """Undoes the exposures of the ladder, but with this many codes too much at some stops."""

    def enhancer(pixels: Pixels) -> Pixels:
        stops, original = at_stops().get(pixels.tobytes(), (0, pixels))
        return brighter(original, codes.get(stops, 0))

    return enhancer


FAULTS: dict[str, tuple[Callable[[Pixels], Pixels], set[str]]] = {
    fault.__name__: (lambda pixels, fault=fault: fault(perfect(pixels)), expected)
    for fault, expected in (
        (perfect, set()),
        (tinted, {"colour cast: mean chroma", "colour cast: p99 chroma"}),
        (sharpened, {"halo: overshoot, L*", "halo: undershoot, L*"}),
        (folded_ramp, {"monotony: fall, L*"}),
        (lifted, {"already good: mean CIEDE2000"}),
        (ever_brighter, {"enhancing again: brightening after first, L*"}),
        (ever_more_contrast, {"enhancing again: second change / first"}),
        (night_as_day, {"intent: mean CIEDE2000", "intent: 5 % quantile raised, codes"}),
        (haze, {"intent: 5 % quantile raised, codes"}),
        (light_leak, {"intent: light in a dark frame, codes"}),
        (off_by_one, {"intent: change of a flat colour, codes"}),
        (more_luma_noise, {"amplification: luma noise / slope"}),
        (more_chroma_noise, {"amplification: chroma noise / slope and saturation"}),
        (brighter_when_large, {"size: mean luma, codes"}),
        (grain_when_large, {"size: CIEDE2000"}),
    )
}
FAULTS |= {
    "unchanged": (unchanged, {f"exposure ladder: {stops} stops against 0, codes" for stops in (-1, -2, -3, -4)}),
    "overshoot": (exposed_to({-4: 10}), {"exposure ladder: rise as stops fall, codes"}),
    "darker": (
        exposed_to(dict.fromkeys((-2, -3, -4), -17)),
        {f"exposure ladder: {stops} stops against 0, codes" for stops in (-2, -3)},
    ),
    "dark at the end": (exposed_to({-4: -30}), {"exposure ladder: -4 stops against 0, codes"}),
}


@cache
def results_of(fault: str) -> tuple[list[Outcome], list[Strip]]:
    return stress(FAULTS[fault][0], photographs())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_fails_its_own_check_only(fault: str) -> None:
    outcomes, _ = results_of(fault)
    expected = FAULTS[fault][1]
    failed = {f"{outcome.check}: {each.name}" for outcome in outcomes for each in outcome.measures if not each.passed}
    assert failed == expected, [outcome.measures for outcome in outcomes]
    assert summary_of(outcomes)["passed"] == (not expected)
    assert sum(not outcome.passed for outcome in outcomes) == min(1, len(expected))


def test_a_perfect_enhancer_measures_0() -> None:
    outcomes, _ = results_of("perfect")
    assert [outcome.check for outcome in outcomes] == CHECKS
    for outcome in outcomes:
        for measure in outcome.measures:
            assert measure.value < (1 if outcome.check == "amplification" else 0.02), measure


def test_another_shape_another_type_and_no_photograph_are_refused() -> None:
    with pytest.raises(InputError, match=r"ramp 0 to 255 across should be .* uint8"):
        stress(lambda pixels: pixels[:-1], photographs())
    with pytest.raises(InputError, match=r"should be .* uint8 .* but became float64"):
        stress(lambda pixels: pixels / 255, photographs())  # type: ignore[arg-type, return-value]
    with pytest.raises(InputError, match=r"at least one but are none; .*--photos"):
        stress(unchanged, photographs()._replace(good={}))


def test_examples_and_the_number_of_enhancements(tmp_path: Path) -> None:
    calls = []
    _, examples = stress(lambda pixels: calls.append(1) or pixels, photographs())
    assert len(calls) == enhancements(photographs())
    shown = {example.third: {example.title.split("\n")[0] for example in examples} for example in examples}
    third = {title: example.third for example in examples for title in [example.title.split("\n")[0]]}
    assert len(shown) == 6
    assert {third[name] for name in ("0", "1", "2")} == {"enhanced three times"}
    assert third["night"] == ""
    assert {third[f"{name}, -3 stops"] for name in ("0", "1", "2")} == {"enhanced at 0 stops"}
    assert third["large, 400 px"] == "enhanced at 256 px"
    assert {len(example.tiles) for example in examples if example.third in {"", "profile"}} == {2}
    assert {len(example.tiles) for example in examples if example.third not in {"", "profile"}} == {3}
    write_picture(tmp_path / "stress.png", examples)
    with Image.open(tmp_path / "stress.png") as image:
        assert image.height > 0.7 * image.width > 1000, "all examples in one band"


def test_what_is_not_there_is_left_out() -> None:
    bare = photographs()._replace(sized=photographs().good, keep={})
    calls = []
    outcomes, _ = stress(lambda pixels: calls.append(1) or perfect(pixels), bare)
    assert len(calls) == enhancements(bare)
    assert all(outcome.passed for outcome in outcomes)
    left_out = {outcome.check: outcome.left_out for outcome in outcomes if outcome.left_out}
    assert left_out == {
        "intent": "no photographs that are dark or pale on purpose; name a folder with --keep",
        "size": "photographs are not enlarged: 256 px was reached by 0 of 3, 512 px by 0, 1024 px by 0, 2048 px by 0",
    }
    names = {outcome.check: [measure.name for measure in outcome.measures] for outcome in outcomes}
    assert names["intent"] == ["light in a dark frame, codes", "change of a flat colour, codes"]
    assert names["size"] == []
    assert summary_of(outcomes)["checks"]["size"]["left_out"] == left_out["size"]


def test_the_command(
    tmp_path: Path, random_generator: Callable[..., Generator], capsys: pytest.CaptureFixture[str]
) -> None:
    save_generator(tmp_path / "g.safetensors", random_generator(8), ModelConfig(width=8), {})
    photos = tmp_path / "data" / "train" / "high"
    write_pictures(photos, ["$a^$.png", "$b^$.png"])
    write_pictures(tmp_path / "data" / "keep", ["night.png"], dim=5)
    given = ["stress", "--checkpoint", f"{tmp_path}/g.safetensors", "--photos", f"{photos}", "--count", "1"]
    assert main([*given, "--out", f"{tmp_path}/out"]) == 1, "a random network passed"
    told = " ".join(capsys.readouterr().out.split())
    assert "stress FAIL: colour cast" in told
    assert "size, left out: photographs are not enlarged: 256 px was reached by 0 of 1" in told
    assert "intent, left out" not in told
    written = json.loads((tmp_path / "out" / "stress.json").read_text())
    assert written["format"] == "bncagan-stress-2"
    assert not written["passed"]
    assert written["photographs"] == [ranked(photos)[0].name]
    assert (written["keep"], written["kept"]) == (f"{tmp_path}/data/keep", ["night.png"])
    assert list(written["checks"]) == CHECKS
    with Image.open(tmp_path / "out" / "stress.png") as image:
        assert image.width > 600


def test_the_command_passes_an_enhancer_that_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = []
    monkeypatch.setattr("bncagan.cli.stress.open_enhancer", lambda *given: opened.append(given[:2]) or perfect)
    monkeypatch.setattr("bncagan.evaluation.stress.photographs.bundled_photographs", lambda: photographs().good)
    assert main(["stress", "--artifact", "a.onnx", "--out", f"{tmp_path}/out", "--json"]) == 0
    assert opened == [("artifact", "a.onnx")]
    written = json.loads((tmp_path / "out" / "stress.json").read_text())
    assert json.loads(capsys.readouterr().out) == written
    assert (written["photos"], written["large"], written["keep"]) == ("scikit-image", "scikit-image", None)


def test_which_photographs_are_taken(tmp_path: Path) -> None:
    high, large, keep = (tmp_path / name for name in ("data/train/high", "large", "data/keep"))
    write_pictures(high, ["a.png", "b.png", "c.png"])
    taken = Stress(tmp_path, checkpoint="small", photos=high, count=2, rendered=1)._photographs()
    best = [path.name for path in ranked(high)]
    assert (list(taken.good), list(taken.exposed), list(taken.sized)) == (best[:2], best[:1], best[:1])
    assert taken.keep == {}, "there is no such folder yet"
    write_pictures(keep, ["night.png"])
    assert list(Stress(tmp_path, photos=high)._photographs().keep) == ["night.png"]
    assert Stress(tmp_path, photos=tmp_path / "data" / "high")._keep() is None
    Image.fromarray(picture(1, 1300, 700)).save(high / "tall.png")
    write_pictures(large, ["d.png"])
    taken = Stress(tmp_path, photos=high, large=large, keep=high)._photographs()
    assert (len(taken.good), len(taken.exposed), list(taken.sized), len(taken.keep)) == (4, 4, ["d.png"], 4)
    assert taken.good["tall.png"].shape == taken.keep["tall.png"].shape == (951, 512, 3)
    assert Stress(tmp_path, photos=high)._photographs().sized["tall.png"].shape == (1300, 700, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "should have one enhancer but has no --checkpoint or --artifact; "),
        (["--checkpoint", "small", "--artifact", "a.onnx"], "both --checkpoint and --artifact; "),
        (["--checkpoint", "small", "--count", "3"], "--count 3 should be used with --photos"),
        (["--checkpoint", "small", "--photos", ".", "--count", "0"], "--count should be at least 1 but is 0; "),
        (["--checkpoint", "small", "--rendered", "0"], "--rendered should be at least 1 but is 0; "),
        (["--checkpoint", "small", "--keep", "nowhere"], "nowhere should be a photograph or a folder of them"),
        (["--checkpoint", "small", "--photos", "nowhere"], "nowhere should be a photograph or a folder of them"),
        (["--artifact", "nowhere.onnx"], "nowhere.onnx"),
    ],
)
def test_refusals(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["stress", *arguments, "--out", "out"]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()
