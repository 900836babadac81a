"""Write numbers of the Python formulas for the page's unit tests: oracle.py FILE."""

import json
import sys
from pathlib import Path

import numpy as np

from runtimes.apply.change import Change
from runtimes.apply.oracle import applied
from runtimes.controls import Controls, adjust
from runtimes.image import resize

SETTINGS = (Controls(), Controls(0.4, 0), Controls(1.5, 1.2), Controls(1, -1.5), Controls(0, 0))


def numbers() -> dict:
    """Pictures before and after a change, controls on a grid of codes, and reduced pictures."""
    rng = np.random.default_rng(0)
    photograph = rng.integers(0, 256, (13, 17, 3), dtype=np.uint8)
    tone = np.array([0.02, 1.1, 0.3, -0.2, 0.1, 0.2, -0.1, 0.05, 0.2, 0.03, 0.15, 1.02, 1, 0.97, 0.8, 0], np.float32)
    maps = rng.normal(0, 0.1, (12, 3, 4)).astype(np.float32)
    grid = np.linspace(0, 1, 9, dtype=np.float32)
    x, e = (plane.ravel() for plane in np.meshgrid(grid, grid))
    large = np.kron(rng.integers(0, 256, (9, 12, 3)), np.ones((7, 6, 1))).astype(np.uint8)
    return {
        "photograph": photograph.ravel().tolist(),
        "size": photograph.shape[:2],
        "tone": tone.tolist(),
        "maps": maps.ravel().tolist(),
        "maps_size": maps.shape[1:],
        "settings": [[c.strength, c.exposure] for c in SETTINGS],
        "changed": [applied(photograph, Change(tone, maps), c).ravel().tolist() for c in SETTINGS],
        "toned": applied(photograph, Change(tone)).ravel().tolist(),
        "x": x.tolist(),
        "e": e.tolist(),
        "adjusted": [adjust(x, e, c).tolist() for c in SETTINGS],
        "large": large.ravel().tolist(),
        "large_size": large.shape[:2],
        "reduced": [[h, w, resize(large, h, w).ravel().tolist()] for h, w in ((16, 24), (40, 40), (8, 16))],
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(numbers(), default=lambda value: round(value, 7)))
