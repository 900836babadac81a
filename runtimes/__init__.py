"""Run an exported artifact: `load(path)` opens it, and `enhance(image)` takes a photograph of any size.

This package needs numpy and Pillow. It imports a backend only when a file of that format is opened.

Example:
    with runtimes.load("small.onnx") as runtime:
        photo = runtimes.open_photograph("photo.jpg")
        photo.changed(runtime.enhance(photo.seen)).write("enhanced.jpg")
"""

import os

from runtimes.backends import load
from runtimes.base import Runtime
from runtimes.errors import ArtifactError, BackendMissingError, InputError
from runtimes.folders.run import enhance_folder
from runtimes.image import side_by_side
from runtimes.photographs import Photograph, find_photographs, open_photograph, require_writable
from runtimes.schema import Version
from runtimes.spec import METADATA_KEY, ImageSpec, ShapeSet
from runtimes.verdict import FORMAT_VERSION, Verdict
from runtimes.video.clip import enhance_video

# ONNX Runtime 1.29 and newer tell their makers what runs, unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "FORMAT_VERSION",
    "METADATA_KEY",
    "ArtifactError",
    "BackendMissingError",
    "ImageSpec",
    "InputError",
    "Photograph",
    "Runtime",
    "ShapeSet",
    "Verdict",
    "Version",
    "enhance_folder",
    "enhance_video",
    "find_photographs",
    "load",
    "open_photograph",
    "require_writable",
    "side_by_side",
]
