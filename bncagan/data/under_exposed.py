"""The tones of under-exposed frames, as a normal distribution of 18 numbers.

Measured on 554 under-exposed frames of SICE's training photographs (Cai et al., Learning a deep single image contrast
enhancer from multi-exposure images, 2018), reduced to a short side of 128 px: base-2 logarithms of linear light at 17
evenly spaced quantiles of luma, from the darkest pixel to the brightest, then the natural logarithm of the
colourfulness plus 0.02.
"""

import numpy as np

MEAN = np.array([-11.97, -9.32, -8.75, -8.31, -7.95, -7.60, -7.27, -6.93, -6.52, -6.07, -5.61, -5.13, -4.60, -4.05,
                 -3.44, -2.66, -0.81, -1.23])  # fmt: skip
# The first four principal components, each times its standard deviation
DIRECTIONS = np.array([
    [0.30, 1.23, 1.30, 1.35, 1.38, 1.37, 1.39, 1.42, 1.42,
     1.39, 1.37, 1.33, 1.23, 1.14, 1.03, 0.84, 0.25, 0.02],
    [-0.19, -0.80, -0.76, -0.72, -0.67, -0.58, -0.48, -0.35, -0.18,
     0.07, 0.31, 0.61, 0.92, 1.11, 1.23, 1.20, 0.48, -0.23],
    [0.18, 0.30, 0.27, 0.25, 0.18, 0.09, 0.00, -0.11, -0.27,
     -0.43, -0.46, -0.35, -0.14, 0.07, 0.32, 0.51, 0.36, -0.05],
    [0.26, 0.28, 0.17, 0.05, -0.03, -0.11, -0.15, -0.20, -0.21,
     -0.16, -0.04, 0.11, 0.25, 0.25, 0.12, -0.19, -0.60, 0.04],
])  # fmt: skip
