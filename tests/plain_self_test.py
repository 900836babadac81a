"""docs/self-test.md in the plainest Python: what a program in another language does. Nothing of the project is used."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Infer = Callable[[Floats], Floats]  # N x 3 x H x W in [0, 1]
Map = Callable[[Floats], tuple[Floats, Floats]]  # to N x 16 and N x 12 x h x w


def plain_self_test(folder: Path, infer: Infer, maps: Map | None = None) -> dict[str, Any]:
    """Run the self-test folder of an artifact of float32 pictures; the verdict as docs/self-test.md describes it."""
    index = json.loads((folder / "selftest.json").read_text())
    limits, scores, failures = index["thresholds"], [], []
    alone: dict[int, NDArray[Any]] = {}
    among: list[tuple[str, int, NDArray[Any]]] = []
    for batch in index["batches"]:
        cases = [index["cases"][number] for number in batch]
        pictures = np.stack([picture(folder, case, "input") for case in cases])
        x = (pictures / np.float32(255)).transpose(0, 3, 1, 2).astype(np.float32)
        if "photograph" in cases[0]:
            assert maps is not None
            photographs = [picture(folder, case, "photograph", case["photograph"]) for case in cases]
            answers = [applied(*each) for each in zip(photographs, *maps(x), strict=True)]
        else:
            answers = [answer.transpose(1, 2, 0) for answer in infer(x)]
        for number, case, answer in zip(batch, cases, answers, strict=True):
            name = f"{case['name']} at {len(batch)}x{case['height']}x{case['width']}"
            size = case.get("photograph", case)
            scores.append({"name": name, **numbers(answer, picture(folder, case, "expected", size))})
            failures += [f"{name}: {what}" for what in broken(scores[-1], limits)]
            if len(set(batch)) > 1:
                among.append((name, number, answer))
                continue
            alone.setdefault(number, answer)
            if numbers(answer, codes(answers[0]))["max_code"] > 1:
                failures.append(f"{name}: equal rows differ")
    for name, number, answer in among:
        if number in alone:
            failures += [f"{name}: {what}" for what in broken(numbers(answer, codes(alone[number])), limits)]
    worst = min(scores, key=lambda score: (score["finite"], math.inf if score["psnr"] is None else score["psnr"]))
    decibels = [score["psnr"] for score in scores if score["psnr"] is not None]
    return {
        "passed": not failures,
        "psnr_min": min(decibels, default=None),
        "psnr_mean": sum(decibels) / len(decibels) if decibels else None,
        **{name: max(score[name] for score in scores) for name in ("max_code", "share_over_1", "bias_max")},
        "de_mean": None,
        "de_p99": None,
        "cases": len(scores),
        "worst": worst["name"],
        "failures": failures,
    }


def picture(folder: Path, case: dict[str, Any], kind: str, size: dict[str, Any] | None = None) -> NDArray[np.uint8]:
    """The bytes of a .rgb file, H x W x 3, after a check of their hash."""
    data = (folder / case[kind]["rgb"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == case[kind]["sha256"]
    size = size or case
    return np.frombuffer(data, np.uint8).reshape(size["height"], size["width"], 3)


def applied(photograph: NDArray[np.uint8], tone: Floats, maps: Floats) -> NDArray[np.float64]:
    """The formula of docs/maps.md: uint8 H x W x 3 -> H x W x 3 in [0, 1]."""
    x = photograph / 255
    black, gain, *steps, s, lift, k = (float(constant) for constant in tone[:11])
    v = np.clip((x - black) * gain, 0, 1)
    for a in steps:
        v = v + a * v * (1 - v)
    v = v + s * v * (1 - v) * (2 * v - 1)
    v = v + lift * (1 - v)
    luma = 0.299 * v[..., 0:1] + 0.587 * v[..., 1:2] + 0.114 * v[..., 2:3]
    t = x + float(tone[14]) * (np.clip(tone[11:14] * (v + k * (v - luma)), 0, 1) - x)
    (height, width, _), (h, w) = photograph.shape, maps.shape[1:]
    down = np.clip((np.arange(height) + 0.5) * h / height - 0.5, 0, h - 1)
    across = np.clip((np.arange(width) + 0.5) * w / width - 0.5, 0, w - 1)
    wide = np.array([[np.interp(across, np.arange(w), row) for row in plane] for plane in maps])
    full = np.array([[np.interp(down, np.arange(h), column) for column in plane.T] for plane in wide])
    a00, a01, a02, b0, a10, a11, a12, b1, a20, a21, a22, b2 = full.transpose(0, 2, 1)
    red, green, blue = np.moveaxis(t, 2, 0)
    e = [
        red + a00 * red + a01 * green + a02 * blue + b0,
        green + a10 * red + a11 * green + a12 * blue + b1,
        blue + a20 * red + a21 * green + a22 * blue + b2,
    ]
    return np.clip(np.stack(e, axis=2), 0, 1)


def codes(answer: NDArray[Any]) -> NDArray[np.float64]:
    """The codes of a picture in [0, 1]; 0 for NaN and infinity."""
    return np.floor(255 * np.clip(np.where(np.isfinite(answer), answer, 0), 0, 1) + 0.5)


def numbers(answer: NDArray[Any], expected: NDArray[Any]) -> dict[str, Any]:
    """The numbers of one picture, without CIEDE2000."""
    finite = np.isfinite(answer)
    difference = codes(answer) - expected
    mse = (difference**2).mean()
    return {
        "finite": bool(finite.all()),
        "psnr": 10 * math.log10(255**2 / mse) if mse > 0 else None,
        "max_code": int(np.abs(difference).max()),
        "share_over_1": float((np.abs(difference).max(axis=2) > 1).mean()),
        "bias_max": float(np.abs(difference.mean(axis=(0, 1))).max()),
    }


def broken(score: dict[str, Any], limits: dict[str, Any]) -> list[str]:
    """The limits that one picture breaks; null is no limit."""
    found = [] if score["finite"] else ["NaN or infinity"]
    if limits["psnr"] is not None and score["psnr"] is not None and score["psnr"] < limits["psnr"]:
        found.append(f"PSNR {score['psnr']}")
    found += [
        f"{name} {score[number]}"
        for name, number in (("max_code", "max_code"), ("bias", "bias_max"))
        if limits[name] is not None and score[number] > limits[name]
    ]
    return found
