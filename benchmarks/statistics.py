"""What samples say: percentiles, drift, and how sure a ratio of two medians is. Nothing is ever left out of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 95.0  # %
DRIFT = 1.1  # ratio of medians beyond which a run is said to drift


def percentile(samples: Sequence[int], q: float) -> int:
    """Nearest rank: the smallest sample that at least q % of the samples do not exceed; always one that was taken."""
    return int(np.percentile(samples, q, method="inverted_cdf"))


def throughput(samples: Sequence[int], batch: int) -> float:
    """Pictures per second of back-to-back calls that take `samples` ns each."""
    return batch * len(samples) / (sum(samples) / 1e9)


def drift(samples: Sequence[int]) -> float:
    """Median of the last third over the median of the first third; 1 where there are too few samples to tell."""
    third = len(samples) // 3
    if third < 2:
        return 1.0
    return percentile(samples[-third:], 50) / percentile(samples[:third], 50)


class Ratio(NamedTuple):
    """A ratio, with the ends of its confidence interval."""

    value: float
    low: float
    high: float


def ratio_of_medians(later: Sequence[int], first: Sequence[int]) -> Ratio:
    """Median of `later` over that of `first`, with the percentile bootstrap's 95 % interval: 2000 resamples, seeded.

    Samples count as independent, so the interval covers the noise within the two runs, not a change of the machine
    between them.
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
