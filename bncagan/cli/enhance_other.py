"""enhance: what is no photograph to be written: videos, the colour cube of a photograph, a camera's live picture."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bncagan.cli.options import RuntimeOptions
from bncagan.cli.progress import Progress, progress
from runtimes.command import stopping
from runtimes.errors import InputError
from runtimes.files import sweep
from runtimes.image import Pixels
from runtimes.video.reading import VIDEO_SUFFIXES
from runtimes.video.writing import ENCODERS

if TYPE_CHECKING:
    from bncagan.cli.enhance import Enhance

MODEL = "nano"  # if no other is asked for
ALWAYS = {field.name for field in dataclasses.fields(RuntimeOptions)} | {
    "photos", "model", "strength", "exposure", "debug",
}  # fmt: skip


def are_videos(files: Sequence[Path]) -> bool:
    """Whether the files are videos, by their suffixes.

    Errors: InputError when some are and some are not.
    """
    videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES and not file.is_dir()]
    if videos and len(videos) < len(files):
        raise InputError(
            f"videos and photographs should be enhanced in two runs but {videos[0]} came with others; leave it out"
        )
    return bool(videos)


def write_cube(options: Enhance, cube: Path, model: str | None, photos: Sequence[Path]) -> int:
    """Write the model's change of one photograph as a colour cube, and print its error."""
    from runtimes import load, open_photograph
    from runtimes.controls import Controls
    from runtimes.cube import measure, require_cube_model
    from runtimes.packaged import locate

    _require_only(options, {"cube", "max_side", "max_megapixels", "overwrite"}, "--cube")
    if len(photos) != 1:
        raise InputError(f"--cube should come with one photograph but {len(photos)} are given; name one")
    if cube.suffix.lower() != ".cube":
        raise InputError(f"{cube} should end in .cube but ends in {cube.suffix or 'nothing'}; rename it")
    _require_free([cube], photos, options.overwrite)
    photograph = open_photograph(photos[0], max_megapixels=options.max_megapixels)
    with load(locate(model or MODEL), **options.runtime_options()) as runtime:
        require_cube_model(runtime)
        controls = Controls(options.strength, options.exposure)
        measured = measure(runtime, photograph.seen, controls, max_side=options.max_side)
    measured.cube.write(cube, title=photos[0].stem)
    error = measured.psnr()
    print(cube)
    exact = "no error" if error is None else f"an error of {error:.1f} dB (PSNR)"
    print(f"bncagan: {cube} gives the network's picture with {exact}", file=sys.stderr)
    return 0


def enhance_videos(options: Enhance, model: str | None, videos: Sequence[Path]) -> int:
    """Enhance videos one after the other and print the path of each result."""
    from runtimes import enhance_video, load
    from runtimes.packaged import locate

    _require_only(options, {"out", "overwrite"}, "a video")
    targets = _targets(options.out, videos)
    _require_free(targets, videos, options.overwrite)
    with load(locate(model or MODEL), **options.runtime_options()) as runtime:
        for video, target in zip(videos, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            sweep(target.parent)
            with contextlib.ExitStack() as stack:
                notes = enhance_video(
                    video,
                    target,
                    runtime,
                    strength=options.strength,
                    exposure=options.exposure,
                    overwrite=options.overwrite,
                    done=_shown(video, stack),
                )
            print(target, flush=True)
            for note in notes:
                print(f"bncagan: {video}: {note}", file=sys.stderr)
    return 0


def show_camera(options: Enhance, camera: str, model: str | None, photos: Sequence[Path]) -> int:
    """Show the live picture of a camera until the user ends it."""
    from runtimes import load
    from runtimes.packaged import locate
    from runtimes.video.camera import Camera, Window
    from runtimes.video.live import show_live
    from runtimes.video.predicting import SIDE

    _require_only(options, {"camera", "mirror", "max_side"}, "--camera")
    if photos:
        raise InputError(f"--camera should come without photographs but {photos[0]} is given; leave one of them out")
    stop = threading.Event()
    with (
        contextlib.closing(Window()) as window,
        contextlib.closing(Camera(camera)) as source,
        load(locate(model or MODEL), **options.runtime_options()) as runtime,
        stopping(stop) as signals,
    ):
        show_live(
            source,
            window,
            runtime,
            save=_save,
            stop=stop,
            strength=options.strength,
            exposure=options.exposure,
            max_side=SIDE if options.max_side is None else options.max_side,
            mirror=options.mirror,
        )
    if signals:
        print("bncagan: stopped", file=sys.stderr)
        return 128 + signals[0]
    return 0


def _save(picture: Pixels) -> None:
    """Save a picture of the camera in the current folder and print its path; say so where it cannot be saved."""
    from runtimes.video.live import save_png

    try:
        print(save_png(picture, Path()), flush=True)
    except OSError as error:
        print(f"bncagan: the picture could not be saved in {Path.cwd()} ({error.strerror})", file=sys.stderr)


def _shown(video: Path, stack: contextlib.ExitStack) -> Callable[[int, int], None]:
    """Show the frames that are done, until the stack is closed."""
    shown: list[Progress] = []

    def done(_count: int, frames: int) -> None:
        if not shown:
            shown.append(stack.enter_context(progress(frames)))
            shown[0].started(video)
        shown[0].finished(video)

    return done


def _targets(out: Path | None, videos: Sequence[Path]) -> list[Path]:
    """The results: the file --out, or files in the folder --out; of formats that are not written, NAME.EXT.mp4."""
    if out is None:
        raise InputError("the result of a video needs a place but --out is missing; add --out FILE or FOLDER")
    if out.suffix.lower() in ENCODERS and not out.is_dir():
        if len(videos) > 1:
            raise InputError(f"--out should be a folder for {len(videos)} videos but is {out}; leave its suffix out")
        return [out]
    targets = [out / (v.name if v.suffix.lower() in ENCODERS else f"{v.name}.mp4") for v in videos]
    if len(set(targets)) < len(targets):
        raise InputError("each video should have a name of its own but two have one; enhance them into two folders")
    return targets


def _require_free(targets: Sequence[Path], sources: Sequence[Path], overwrite: bool) -> None:
    """InputError if what is to be enhanced is no file, or if a result would destroy something."""
    from runtimes.folders.plan import require_free

    for source in sources:
        if not source.is_file():
            raise InputError(f"{source} should be a file but is not; check the name")
    require_free([(target, overwrite) for target in targets], sources)


def _require_only(options: Enhance, own: set[str], kind: str) -> None:
    """InputError for options that do nothing here."""
    for field in dataclasses.fields(options):
        if field.name not in ALWAYS | own and getattr(options, field.name) != field.default:
            name = f"--{field.name.replace('_', '-')}"
            raise InputError(f"{kind} should come without {name}, which is for photographs, but has it; leave it out")
