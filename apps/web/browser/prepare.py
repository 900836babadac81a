"""Write what the browser tests compare with: prepare.py FOLDER, with the models in apps/web/public/models.

The photographs are scikit-image's; the answers are PyTorch's, of the float32 network.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import skimage.data
from PIL import Image, ImageCms

from bncagan.network.checkpoint import load_generator
from bncagan.network.folding import fold
from bncagan.network.inference import enhance_exactly, to_unit
from bncagan.network.maps import WithMaps
from runtimes.apply.oracle import applied
from runtimes.base import Maps
from runtimes.image import resize
from tests.artifact_faults import planted

WEB = Path(__file__).parents[1]
SIDE, LEAST = 512, 16  # px: what the network sees in the browser
FAULT = "swapped channels"


def answers(folder: Path) -> None:
    """Photographs, reduced copies for a slow device, and PyTorch's answers as bare RGB bytes."""
    model = fold(load_generator("small")[0])
    for name in ("astronaut", "coffee", "chelsea"):
        photo = getattr(skimage.data, name)()
        height, width = photo.shape[:2]
        small = resize(photo, *(round(side * 96 / max(height, width)) for side in (height, width)))
        for title, picture in ((name, photo), (f"{name}-small", small)):
            Image.fromarray(picture).save(folder / f"{title}.png")
            (folder / f"{title}.rgb").write_bytes(answer(model, picture).tobytes())
    strip(folder, model)


def strip(folder: Path, model) -> None:
    """A photograph too narrow for the network, so that it is changed by maps; small, for a slow device."""
    picture = resize(skimage.data.coffee()[:75], 12, 96)
    Image.fromarray(picture).save(folder / "strip.png")
    (folder / "strip.rgb").write_bytes(answer(model, picture).tobytes())


def under_exposed(folder: Path) -> None:
    """A photograph for the screenshots, darkened by 1.5 stops as `make demo` does."""
    codes = np.rint(skimage.data.coffee() * 2 ** (-1.5 / 2.2)).astype(np.uint8)
    Image.fromarray(codes).save(folder / "coffee-dark.jpg", quality=95)


def answer(model, picture):
    """The network's own picture where all sides are from LEAST to SIDE, else the photograph after its maps."""
    height, width = picture.shape[:2]
    scale = min(SIDE / max(height, width), 1)
    if scale == 1 and min(height, width) >= LEAST:
        padded = np.pad(picture, [(0, -height % 8), (0, -width % 8), (0, 0)], "reflect")
        return enhance_exactly(model, padded)[:height, :width]
    reduced = resize(picture, *(max(8 * round(side * scale / 8), LEAST) for side in (height, width)))
    outputs = WithMaps(model, picture=False)(to_unit(reduced))
    return applied(picture, Maps(*(output.detach().numpy() for output in outputs)).change(0))


def turned(folder: Path) -> None:
    """A JPEG that a camera held upright: to be turned by EXIF, with a thumbnail, a place, and a profile of its own."""
    photo = Image.fromarray(skimage.data.coffee())
    exif = photo.getexif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    exif.get_ifd(0x8769).update({0xA002: 600, 0xA003: 400, 0x9003: "2026:01:02 03:04:05"})
    exif.get_ifd(0x8825).update({1: "N", 2: (47.0, 22.0, 0.0)})
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    own = bytes(profile).replace(b"sRGB", b"mine").replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))
    photo.save(folder / "turned.jpg", quality=95, exif=exif, icc_profile=own)


def wrong_models(folder: Path) -> None:
    """The models with a fault, and a self-test of the smallest pictures for a slow device."""
    models = WEB / "public" / "models"
    shutil.copytree(models, folder / "wrong", dirs_exist_ok=True)
    shutil.copytree(models, folder / "quick", dirs_exist_ok=True)
    for path in (folder / "wrong").glob("*.onnx"):
        onnx.save(planted(onnx.load(path), FAULT), path)
    for path in (folder / "quick").glob("*/selftest.json"):
        index = json.loads(path.read_text())
        sizes = [index["cases"][batch[0]]["height"] for batch in index["batches"]]
        index["batches"] = [batch for batch, size in zip(index["batches"], sizes, strict=True) if size == 16]
        path.write_text(json.dumps(index))


if __name__ == "__main__":
    out = Path(sys.argv[1])
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    answers(out)
    under_exposed(out)
    turned(out)
    wrong_models(out)
