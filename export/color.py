"""Colour difference as people see it: sRGB -> CIELAB (D65, 2 degrees) and CIEDE2000."""
from typing import Any
import numpy as np
from numpy.typing import NDArray

def srgb_to_lab(image: NDArray[Any]) -> NDArray[np.float64]: ...
def ciede2000(lab1: NDArray[np.float64], lab2: NDArray[np.float64]) -> NDArray[np.float64]: ...
