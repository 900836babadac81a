"""The reader and writer of photographs that training, evaluation, export and `enhance` share."""

from runtimes.photographs.decoding import MOST_MEGAPIXELS
from runtimes.photographs.encoding import SUFFIXES, require_writable
from runtimes.photographs.finding import READABLE, find_photographs
from runtimes.photographs.photograph import Photograph, open_photograph, read_rgb

__all__ = [
    "MOST_MEGAPIXELS",
    "READABLE",
    "SUFFIXES",
    "Photograph",
    "find_photographs",
    "open_photograph",
    "read_rgb",
    "require_writable",
]
