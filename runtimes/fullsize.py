"""placeholder"""
from runtimes.image import Pixels, resize
def transfer(full: Pixels, small_in: Pixels, small_out: Pixels) -> Pixels:
    return resize(small_out, *full.shape[:2])
