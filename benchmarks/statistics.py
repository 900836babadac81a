"""Statistics of samples: percentiles, drift, and the confidence interval of a ratio of medians; all samples count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 95.0  # %
DRIFT = 1.1  # a report warns of drift if the ratio of medians is above this or below its inverse


def percentile(samples: Sequence[int], q: float) -> int:
    """Return the q-th percentile by nearest rank: the smallest sample that is >= at least q % of the samples."""
    return int(np.percentile(samples, q, method="inverted_cdf"))


def throughput(samples: Sequence[int], batch: int) -> float:
    """Return pictures per second, for consecutive calls with the times `samples` in ns."""
    return batch * len(samples) / (sum(samples) / 1e9)


def drift(samples: Sequence[int]) -> float:
    """Return the median of the last third / the median of the first third; 1 for fewer than 6 samples."""
    third = len(samples) // 3
    if third < 2:
        return 1.0
    return percentile(samples[-third:], 50) / percentile(samples[:third], 50)


class Ratio(NamedTuple):
    """A ratio with its confidence interval."""

    value: float
    """The ratio."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""


def ratio_of_medians(later: Sequence[int], first: Sequence[int]) -> Ratio:
    """Return the median of `later` / the median of `first`, with a 95 % interval.

    The interval is a percentile bootstrap with 2000 resamples and a fixed seed. It treats samples as independent, so it
    covers the noise within the two runs, but not a change of the machine between them.
    """
    rng = np.random.default_rng(0)

    def medians(samples: Sequence[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        taken = np.asarray(samples, dtype=np.float64)
        drawn = taken[rng.integers(0, len(taken), (RESAMPLES, len(taken)))]
        return np.percentile(drawn, 50, axis=1, method="inverted_cdf")

    ratios = medians(later) / medians(first)
    tail = (100 - CONFIDENCE) / 2
    low, high = np.percentile(ratios, [tail, 100 - tail])
    return Ratio(percentile(later, 50) / percentile(first, 50), float(low), float(high))
