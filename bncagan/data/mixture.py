"""The mixture of renderings from which the tone head learns, and what each of them asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bncagan.data.camera import (
    LUMA,
    Code,
    develop,
    exposed,
    render_covered_lens,
    render_deep,
    render_dim,
    render_low_key,
    render_mild,
    render_night,
    render_varied,
    scene,
)

FEWEST = 8  # photographs; a kind of which a folder has fewer is taken from the whole folder


@dataclass(frozen=True)
class Photographs:
    """Finished photographs, sorted by what may be asked of them."""

    all: Sequence[Code]
    """Every photograph."""
    wide: Sequence[Code]
    """Those that use the range of tones: a dull frame may be asked to become one."""
    bright: Sequence[Code]
    """Those of them that are not dark: an under-exposed frame may be asked to become one."""
    middle: Sequence[Code]
    """Those of them that are neither dark nor pale, for renderings at several exposures."""
    special: Sequence[Code]
    """Dark or pale on purpose."""

    @classmethod
    def sort(cls, photographs: Sequence[Code]) -> Photographs:
        """Sort by mean luma, and by the 1 % and 99.5 % quantiles."""
        mean = {id(each): 255 * float((each @ LUMA).mean()) for each in photographs}
        wide = [each for each in photographs if uses_range(each)]
        groups = (
            wide,
            [each for each in wide if mean[id(each)] >= 85],
            [each for each in wide if 85 <= mean[id(each)] <= 175],
            [each for each in photographs if not 65 <= mean[id(each)] <= 185],
        )
        return cls(photographs, *(group if len(group) >= FEWEST else photographs for group in groups))


def uses_range(code: Code) -> bool:
    """Whether the 99.5 % quantile of luma reaches 200 of 255 and the 1 % quantile is at most 60."""
    dark, light = np.percentile(code @ LUMA, (1, 99.5))
    return bool(light >= 200 / 255 and dark <= 60 / 255)


class Pair(NamedTuple):
    """A frame and what it should become."""

    frame: Code
    target: Code


Render = Callable[[Code, np.random.Generator], Code]


@dataclass(frozen=True)
class Component:
    """One kind of rendering."""

    share: float
    """Its weight in the mixture, relative to the others."""
    count: int
    """How many renderings of it are made."""
    source: str
    """The field of `Photographs` that it is made from."""
    render: Render
    """Makes the frame."""
    lift: bool
    """Whether the photograph is the target; if not, the rendering is itself finished and should stay as it is."""

    def make(self, photographs: Photographs, rng: np.random.Generator) -> Pair:
        """One rendering of a random photograph."""
        sources: Sequence[Code] = getattr(photographs, self.source)
        original = sources[int(rng.integers(len(sources)))]
        frame = self.render(original, rng)
        return Pair(frame, original if self.lift else frame)


def _intact(code: Code, _rng: np.random.Generator) -> Code:
    return code


def _slightly_dull(code: Code, rng: np.random.Generator) -> Code:
    light = scene(code, rng.uniform(0, 0.7), rng.random())
    return develop(light * np.float32(2 ** rng.uniform(-0.8, -0.05)), rng)


def _too_dark(code: Code, rng: np.random.Generator) -> Code:
    return exposed(code, rng.uniform(-4.4, 0))


def _too_bright(code: Code, rng: np.random.Generator) -> Code:
    return exposed(code, rng.uniform(0, 1.1))


# Chosen by validation. `deep` against `night`, `low key` and what is kept is a trade: an under-exposed frame and a
# picture that is dark on purpose can look alike.
COMPONENTS: Mapping[str, Component] = {
    "mild": Component(0.38, 2400, "wide", render_mild, lift=True),
    "slightly dull": Component(0.03, 300, "special", _slightly_dull, lift=True),
    "deep": Component(0.42, 2000, "bright", render_deep, lift=True),
    "dim": Component(0.35, 1000, "bright", render_dim, lift=True),
    "too dark": Component(0.06, 800, "middle", _too_dark, lift=True),
    "too bright": Component(0.02, 200, "middle", _too_bright, lift=True),
    "finished": Component(0.05, 160, "all", _intact, lift=False),
    "special": Component(0.3, 60, "special", _intact, lift=False),
    "varied": Component(0.3, 800, "special", render_varied, lift=False),
    "night": Component(0.43, 1000, "bright", render_night, lift=False),
    "low key": Component(0.2, 800, "bright", render_low_key, lift=False),
    "covered lens": Component(0.03, 60, "all", render_covered_lens, lift=False),
}
