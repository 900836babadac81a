"""Confidence intervals of the mean of a small sample: Student's t, over pictures alone or over seeds and pictures.

An evaluation may have only 6 to 20 pictures. The table shows in how many of 4000 simulated samples a 95 % interval
contained the true mean:

    numbers                  n    percentile bootstrap    BCa bootstrap    t
    normal                   6    86.5 %                  86.7 %           95.3 %
                            11    90.3 %                  90.4 %           94.7 %
                            20    93.3 %                  93.0 %           95.5 %
    lognormal, sigma 0.5     6    82.3 %                  83.1 %           91.4 %
                            11    88.4 %                  88.8 %           92.3 %
                            20    91.5 %                  92.2 %           93.7 %
    lognormal, sigma 1       6    75.7 %                  77.3 %           83.4 %
                            11    80.7 %                  83.2 %           84.0 %
                            20    85.9 %                  87.2 %           87.2 %
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from runtimes.errors import InputError

SHARE = 0.95
INTERVAL = {"method": "t", "share": SHARE}  # as it is written to files


def t_interval(values: Sequence[float] | NDArray[np.float64], share: float = SHARE) -> tuple[float, float]:
    """The ends of the interval of the mean; for normal samples it contains the true mean with probability `share`.

    With a single value both ends are NaN, because nothing is known about the spread. InputError if there is no value,
    or if one is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not sample.size or not np.isfinite(sample).all():
        raise InputError(
            f"scores should be finite numbers in a row, at least one, but are {sample.size} of shape {sample.shape} or "
            "not finite; leave out pictures that cannot be scored"
        )
    if sample.size == 1:
        return math.nan, math.nan
    return _around(float(sample.mean()), float(sample.var(ddof=1)) / sample.size, sample.size - 1, share)


def crossed_interval(differences: NDArray[np.float64], share: float = SHARE) -> tuple[float, float]:
    """The t interval of the mean of paired differences (seeds x pictures), valid for other seeds and other pictures.

    Every run is scored on the same pictures, so a difference is the sum of an effect of the seed, an effect of the
    picture and a rest. The variance of the mean is computed from the three mean squares of this two-way layout, and is
    at least that of seeds or of pictures alone; the degrees of freedom follow Satterthwaite (1946). With one seed the
    interval is over pictures only; with two it is wide. In simulations a 95 % interval contained the true mean in 87 to
    97 % of the samples with two seeds, 91 to 96 % with three and 94 to 96 % with five.
    """
    seeds, pictures = differences.shape
    if seeds == 1:
        return t_interval(differences[0], share)
    mean, of_seed, of_picture = differences.mean(), differences.mean(1), differences.mean(0)
    rest = differences - of_seed[:, None] - of_picture + mean
    freedoms = np.array([seeds - 1, pictures - 1, (seeds - 1) * (pictures - 1)])
    squares = np.array([pictures * of_seed.var(ddof=1), seeds * of_picture.var(ddof=1), (rest**2).sum() / freedoms[2]])
    total = max(squares[0] + squares[1] - squares[2], squares[0], squares[1])
    if not total:
        return float(mean), float(mean)
    freedom = max(total**2 / (squares**2 / freedoms).sum(), min(freedoms))
    return _around(float(mean), total / differences.size, freedom, share)


def _around(mean: float, variance: float, freedom: float, share: float) -> tuple[float, float]:
    half = float(stdtrit(freedom, (1 + share) / 2)) * math.sqrt(variance)
    return mean - half, mean + half
