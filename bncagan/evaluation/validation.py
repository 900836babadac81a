"""The score that chooses checkpoints: gains of every kind of photograph, less the change of those to be left alone.

    score = sum over kinds of the mean gain in dB - mean CIEDE2000 on the photographs to keep

A kind is the part of a file's name before the first `_`, such as fivek of fivek_a0001. One kind that is easy to gain on
cannot make up for another, and brightening every photograph costs what it does to those that are meant to be dark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bncagan.data.folders import KEEP_NAME, Pair
from bncagan.evaluation.metrics import Enhancer, ciede2000, luma, psnr, ssim
from runtimes.image import Pixels
from runtimes.photographs import read_rgb

Show = Callable[[Pixels, Pixels, Pixels], None]  # takes an input, its output and its reference
ALL = "all"  # the kind of photographs whose names tell none
MOST_DB = (
    60.0  # PSNR counts at most this, as of pictures that differ by rounding, because that of equal ones is infinite
)
LOW_SHARE = 5  # per cent of the pixels that are below the quantile whose rise is measured


class Brightness(NamedTuple):
    """How bright a picture is, in codes of luma."""

    mean: float
    """Mean luma."""
    low: float
    """The 5 % quantile of luma."""


class Kept(NamedTuple):
    """What became of a photograph that should stay as it is; or the means over several."""

    ciede2000: float
    """Mean CIEDE2000 to the photograph itself."""
    psnr: float
    """PSNR to the photograph itself in dB, at most 60."""
    luma_before: float
    """Mean luma of the photograph, in codes."""
    luma: float
    """Mean luma of the output, in codes."""
    rise: float
    """Rise of the 5 % quantile of luma, in codes."""

    def __str__(self) -> str:
        """The numbers in one line."""
        return (
            f"CIEDE2000 {self.ciede2000:.2f}, {self.psnr:.2f} dB, luma {self.luma_before:.0f} -> {self.luma:.0f}, "
            f"5 % quantile {self.rise:+.0f}"
        )


@dataclass(frozen=True)
class KindScores:
    """Means over the pairs of one kind, and whether the brightness of the outputs follows that of the references."""

    pictures: int
    """Number of pairs."""
    psnr_input: float
    """Mean PSNR of the inputs in dB; each counts at most 60, here and below."""
    psnr: float
    """Mean PSNR of the outputs in dB."""
    ssim: float
    """Mean SSIM of the outputs."""
    luma: float
    """Mean luma of the outputs, in codes."""
    luma_spread: float
    """Standard deviation of the mean lumas of the outputs."""
    reference_luma: float
    """Mean luma of the references."""
    reference_spread: float
    """Standard deviation of the mean lumas of the references."""
    correlation: float | None
    """Correlation of the mean lumas of outputs and references; None if all of one side are equal."""
    low_difference: float
    """Mean of the 5 % quantile of luma of the output minus that of the reference, in codes."""

    @property
    def gain(self) -> float:
        """Mean PSNR of the outputs minus that of the inputs, in dB."""
        return self.psnr - self.psnr_input

    def __str__(self) -> str:
        """The numbers in one line."""
        correlation = "undefined" if self.correlation is None else f"{self.correlation:.2f}"
        return (
            f"{self.psnr_input:.2f} -> {self.psnr:.2f} dB, SSIM {self.ssim:.3f}, luma {self.luma:.0f} +- "
            f"{self.luma_spread:.0f} (references {self.reference_luma:.0f} +- {self.reference_spread:.0f}, correlation "
            f"{correlation}), 5 % quantile {self.low_difference:+.0f}"
        )


@dataclass(frozen=True)
class Validation:
    """The scores of one enhancer on the validation photographs."""

    kinds: dict[str, KindScores]
    """The scores of each kind of pairs, by its name; at least one."""
    keep: tuple[Kept, ...] = ()
    """What became of each photograph that should stay as it is."""

    @property
    def kept(self) -> Kept | None:
        """The means over the photographs that should stay as they are; None if there are none."""
        return Kept(*np.mean(self.keep, axis=0).tolist()) if self.keep else None

    @property
    def score(self) -> float:
        """Sum over the kinds of the mean gain in dB, minus the mean CIEDE2000 on the photographs to leave alone."""
        return sum(kind.gain for kind in self.kinds.values()) - (self.kept.ciede2000 if self.kept else 0)

    def record(self) -> dict[str, Any]:
        """The numbers as JSON values.

        psnr_input, psnr (means over all pairs), score
        kinds, by name: the fields of `KindScores`, and gain
        keep: pictures and the fields of `Kept`; null without such photographs
        """
        counts = [kind.pictures for kind in self.kinds.values()]
        means = {
            name: float(np.average([getattr(kind, name) for kind in self.kinds.values()], weights=counts))
            for name in ("psnr_input", "psnr")
        }
        kinds = {name: {**asdict(kind), "gain": kind.gain} for name, kind in self.kinds.items()}
        keep = {"pictures": len(self.keep), **self.kept._asdict()} if self.kept else None
        return {**means, "score": self.score, "kinds": kinds, KEEP_NAME: keep}

    def lines(self) -> list[str]:
        """The score in one line, and one line for each kind and for the photographs to leave alone."""
        terms = [f"{name} {kind.gain:+.2f} dB" for name, kind in self.kinds.items()]
        rows = [f"{name} ({kind.pictures}): {kind}" for name, kind in self.kinds.items()]
        if self.kept is not None:
            terms.append(f"CIEDE2000 -{self.kept.ciede2000:.2f}")
            rows.append(f"{KEEP_NAME} ({len(self.keep)}): {self.kept}")
        return [f"score {self.score:+.2f} ({', '.join(terms)})", *rows]


def validate(
    enhancer: Enhancer,
    pairs: Sequence[Pair],
    keep: Sequence[Path] = (),
    short_side: int | None = None,
    show: Show = lambda *_: None,
) -> Validation:
    """Score an enhancer on pairs (at least one) and on photographs to leave alone.

    Photographs are read one at a time, reduced to `short_side` px if that is given. `show` is called for every pair, in
    their order.
    """
    measured: dict[Pair, _Measured] = {}
    for pair in pairs:
        low, label = (read_rgb(path, short_side) for path in pair)
        output = enhancer(low)
        measured[pair] = _measured(low, output, label)
        show(low, output, label)
    kinds = {name: _kind_scores([measured[pair] for pair in each]) for name, each in by_kind(pairs).items()}
    photographs = (read_rgb(path, short_side) for path in keep)
    return Validation(kinds, tuple(change_of(photograph, enhancer(photograph)) for photograph in photographs))


def by_kind(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """The pairs of each kind, by its name, in alphabetical order.

    Pairs without `_` in their names are of one kind, `all`. If each pair would be of a kind of its own, as with FiveK's
    own names (a0001-jmac_DSC1459), names do not tell kinds, and all pairs are of that kind.
    """
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        name, underscore, _ = pair.low.stem.partition("_")
        found.setdefault(name if underscore else ALL, []).append(pair)
    told = any(len(each) > 1 for each in found.values())
    return dict(sorted(found.items())) if told else {ALL: list(pairs)}


def measured_on(pairs: Sequence[Pair], keep: Sequence[Path]) -> dict[str, Any]:
    """The numbers of photographs, as JSON values: kinds (by name) and keep. Only scores on the same ones compare."""
    return {"kinds": {name: len(each) for name, each in by_kind(pairs).items()}, KEEP_NAME: len(keep)}


def change_of(photograph: Pixels, output: Pixels) -> Kept:
    """How much an enhancer changed a photograph that should stay as it is."""
    before, after = brightness(photograph), brightness(output)
    difference = ciede2000(output, photograph)
    return Kept(difference, limited_psnr(output, photograph), before.mean, after.mean, after.low - before.low)


def brightness(picture: Pixels) -> Brightness:
    """Mean and 5 % quantile of luma."""
    values = luma(picture)
    return Brightness(float(values.mean()), float(np.percentile(values, LOW_SHARE)))


def limited_psnr(picture: Pixels, reference: Pixels) -> float:
    """PSNR in dB, at most 60."""
    return min(psnr(picture, reference), MOST_DB)


class _Measured(NamedTuple):
    """The numbers of one pair."""

    psnr_input: float
    psnr: float
    ssim: float
    output: Brightness
    reference: Brightness


def _measured(low: Pixels, output: Pixels, label: Pixels) -> _Measured:
    return _Measured(
        limited_psnr(low, label),
        limited_psnr(output, label),
        ssim(output, label),
        brightness(output),
        brightness(label),
    )


def _kind_scores(measured: Sequence[_Measured]) -> KindScores:
    psnr_input, after, similarity = np.array([each[:3] for each in measured]).mean(0).tolist()
    output, reference = (np.array([getattr(each, name) for each in measured]) for name in ("output", "reference"))
    return KindScores(
        pictures=len(measured),
        psnr_input=psnr_input,
        psnr=after,
        ssim=similarity,
        luma=float(output[:, 0].mean()),
        luma_spread=float(output[:, 0].std()),
        reference_luma=float(reference[:, 0].mean()),
        reference_spread=float(reference[:, 0].std()),
        correlation=_correlation(output[:, 0], reference[:, 0]),
        low_difference=float((output - reference)[:, 1].mean()),
    )


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Pearson's correlation; None if one side does not vary."""
    if not np.ptp(first) or not np.ptp(second):
        return None
    return float(np.corrcoef(first, second)[0, 1])
