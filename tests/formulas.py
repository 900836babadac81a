"""Numbers of the controls, the tone curve and the maps, for implementations in other languages to agree with.

python -m tests.formulas > apps/swift/Tests/BNCAGANCoreTests/Fixtures/formulas.json
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from bncagan.network.tone import CURVE, STEPS, ToneHead
from runtimes.controls import Controls, adjust

SETTINGS = ((1, 0), (0, 0), (1.5, 0), (0.5, 1), (1, -2), (1.25, 2))
SHAPE, GRID = (9, 14), (3, 4)  # of a photograph and its maps


def formulas() -> dict[str, Any]:
    """The contents of the file."""
    rng = np.random.default_rng(0)
    return {"controls": controls(rng), "tone": tones(rng), "maps": maps(rng)}


def controls(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Values from black to white, some of them dark enough for the linear part of sRGB's curve."""
    image = np.concatenate([rng.random(12), rng.random(12) * 0.05, [0, 1]]).astype(np.float32)
    enhanced = np.concatenate([rng.random(12), rng.random(12) * 0.05, [1, 0]]).astype(np.float32)
    return [
        {
            "strength": strength,
            "exposure": exposure,
            "image": listed(image),
            "enhanced": listed(enhanced),
            "result": listed(adjust(image, enhanced, Controls(strength, exposure))),
        }
        for strength, exposure in SETTINGS
    ]


def tones(rng: np.random.Generator) -> list[dict[str, Any]]:
    """What a tone head does to pixels, and the 16 numbers that say the same."""
    found = []
    for warmth, share in ((0.0, 1.0), (0.2, 0.4)):
        head = ToneHead().double()
        head.warmth.fill_(warmth)
        p = torch.from_numpy(rng.normal(0, 0.7, (1, CURVE)))
        pixels = torch.from_numpy(rng.random((8, 3)).astype(np.float32)).double()
        image = pixels.T.reshape(1, 3, 8, 1)
        result = image + share * (head.applied(image, p) - image)
        b, g, *steps, s, lift, saturation = p[0].tolist()
        assert len(steps) == STEPS
        gains = np.exp(warmth * np.array([1, 0, -1]))
        numbers = [0.2 * b, np.exp(0.2 * g), *np.tanh(steps), np.tanh(s), 0.1 * lift, np.exp(0.5 * saturation) - 1]
        found.append(
            {
                "tone": listed([*numbers, *gains, share, 0]),
                "image": listed(pixels.numpy()),
                "result": listed(result[0, :, :, 0].T.numpy()),
            }
        )
    return found


def maps(rng: np.random.Generator) -> dict[str, Any]:
    """What maps do to a photograph, by PyTorch's interpolation, whose convention is the same."""
    values = rng.normal(0, 0.2, (12, *GRID))
    photo = rng.random((*SHAPE, 3)).astype(np.float32).astype(np.float64)
    full = F.interpolate(torch.from_numpy(values)[None], SHAPE, mode="bilinear", align_corners=False)[0].numpy()
    rows = full.reshape(3, 4, *SHAPE)
    change = np.einsum("oihw,hwi->hwo", rows[:, :3], photo) + rows[:, 3].transpose(1, 2, 0)
    return {
        "height": GRID[0],
        "width": GRID[1],
        "values": listed(values.ravel()),
        "photo": listed(photo),
        "result": listed(np.clip(photo + change, 0, 1)),
    }


def listed(values: Any) -> Any:
    """Nested lists, rounded as far as float32 is exact."""
    return np.round(np.asarray(values, np.float64), 8).tolist()


if __name__ == "__main__":
    print(json.dumps(formulas()))
