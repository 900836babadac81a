"""How sure the mean of a small sample is: the percentile bootstrap (Efron 1979)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import InputError

RESAMPLES, SHARE = 10_000, 0.95
DRAWS_AT_ONCE = 2_000_000  # 16 MB of values, however large the sample


def bootstrap_interval(
    values: Sequence[float] | NDArray[np.float64], resamples: int = RESAMPLES, seed: int = 0, share: float = SHARE
) -> tuple[float, float]:
    """The ends of the interval that holds the middle `share`, in (0, 1), of the means of `resamples` resamples.

    Each resample draws as many values as there are, with replacement. The draws depend on the seed and on the numbers
    of values and resamples only, so that equally long samples are resampled alike. Of one value both ends are that
    value. With few values the interval is on average too narrow. InputError if there is no value or one is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not sample.size or not np.isfinite(sample).all():
        raise InputError(
            f"expected finite values in a row to resample, at least one, got {sample.size} of shape {sample.shape}; "
            "leave out what cannot be scored"
        )
    rng = np.random.default_rng(seed)
    at_once = max(1, DRAWS_AT_ONCE // len(sample))
    means = np.concatenate(
        [
            sample[rng.integers(len(sample), size=(min(at_once, resamples - start), len(sample)))].mean(axis=1)
            for start in range(0, resamples, at_once)
        ]
    )
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def hierarchical_interval(
    differences: NDArray[np.float64], resamples: int = RESAMPLES, seed: int = 0, share: float = SHARE
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of paired differences, seeds x pictures, over both of them.

    Each resample draws as many seeds and as many pictures as there are, with replacement; every drawn seed is scored
    on the same drawn pictures, because the runs share theirs (Owen, The Pigeonhole Bootstrap, 2007). Two seeds make a
    rough interval: a resample of them has half the variance between seeds, so it is on average too narrow. With one
    seed it is an interval over pictures alone.
    """
    rng = np.random.default_rng(seed)
    count, pictures = differences.shape
    means = np.empty(resamples)
    for number in range(resamples):
        drawn = differences[rng.integers(count, size=count)].mean(axis=0)
        means[number] = drawn[rng.integers(pictures, size=pictures)].mean()
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
