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

Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # N x 3 x H x W in [0, 1]


def plain_self_test(folder: Path, infer: Infer) -> dict[str, Any]:
    """Run the self-test folder of an artifact of float32 pictures; the verdict as docs/self-test.md describes it."""
    index = json.loads((folder / "selftest.json").read_text())
    limits, scores, failures = index["thresholds"], [], []
    for batch in index["batches"]:
        cases = [index["cases"][number] for number in batch]
        pictures = np.stack([picture(folder, case, "input") for case in cases])
        answers = infer((pictures / np.float32(255)).transpose(0, 3, 1, 2).astype(np.float32))
        for case, answer in zip(cases, answers, strict=True):
            name = f"{case['name']} at {len(batch)}x{case['height']}x{case['width']}"
            scores.append({"name": name, **numbers(answer.transpose(1, 2, 0), picture(folder, case, "expected"))})
            failures += [f"{name}: {what}" for what in broken(scores[-1], limits)]
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


def picture(folder: Path, case: dict[str, Any], kind: str) -> NDArray[np.uint8]:
    """The bytes of a .rgb file, H x W x 3, after a check of their hash."""
    data = (folder / case[kind]["rgb"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == case[kind]["sha256"]
    return np.frombuffer(data, np.uint8).reshape(case["height"], case["width"], 3)


def numbers(answer: NDArray[np.float32], expected: NDArray[np.uint8]) -> dict[str, Any]:
    """The numbers of one picture, without CIEDE2000."""
    finite = np.isfinite(answer)
    codes = np.floor(255 * np.clip(np.where(finite, answer, 0), 0, 1) + 0.5)
    difference = codes.astype(np.float64) - expected
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
