"""Run an exported artifact: `load(path)` opens it, and `enhance(image)` takes a photograph of any size.

This package needs numpy and Pillow. It imports a backend only when a file of that format is opened.

Example:
    with runtimes.load("small.onnx") as runtime:
        photo = runtimes.read("photo.jpg")
        enhanced = dataclasses.replace(photo, pixels=runtime.enhance(photo.pixels))
    runtimes.write(enhanced, "enhanced.jpg")
"""

from runtimes.backends import load
from runtimes.base import Runtime
from runtimes.errors import ArtifactError, BackendMissingError
from runtimes.image import side_by_side
from runtimes.photographs import Photograph, find_photographs, read, require_writable, write
from runtimes.schema import Version
from runtimes.spec import METADATA_KEY, ImageSpec, ShapeSet
from runtimes.verdict import FORMAT_VERSION, Verdict

__all__ = [
    "FORMAT_VERSION",
    "METADATA_KEY",
    "ArtifactError",
    "BackendMissingError",
    "ImageSpec",
    "Photograph",
    "Runtime",
    "ShapeSet",
    "Verdict",
    "Version",
    "find_photographs",
    "load",
    "read",
    "require_writable",
    "side_by_side",
    "write",
]
