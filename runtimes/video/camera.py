"""A camera and a window, by OpenCV."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from runtimes.errors import BackendMissingError, InputError, failing
from runtimes.image import Pixels
from runtimes.installation import EXTRAS, install_hint, installed

SILENT_S = 5.0  # without a picture, after which a camera is taken to deliver none
RETRY_S = 0.05  # after a picture that could not be read
RELEASE_S = 2.0  # for which a picture that is being read may hold up the end
LARGEST = (1280, 720)  # of a new window, px; its borders can be dragged
# What OpenCV, its FFmpeg and its Qt would write between the lines of the command
QUIET = {"OPENCV_LOG_LEVEL": "SILENT", "OPENCV_FFMPEG_LOGLEVEL": "-8", "QT_LOGGING_RULES": "default.warning=false"}
# In a process of its own, because Qt aborts the one that it cannot open a window in
OPEN_WINDOW = "import cv2, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); cv2.namedWindow('test')"


def opencv() -> Any:
    """Import OpenCV; BackendMissingError when it is not installed, or cannot be imported."""
    hint = f"install it with: {install_hint(EXTRAS['cv2'])}"
    if not installed("cv2"):
        raise BackendMissingError(f"OpenCV, which --camera needs, should be installed but is not; {hint}")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with failing("OpenCV", "be importable", hint, but="is not", kind=BackendMissingError):
        import cv2  # noqa: PLC0415
    return cv2


class Camera:
    """A camera, or a video at its own speed, read on a thread of its own that keeps the newest picture alone.

    name: number of a camera, path of a device or a video file, or address of a stream.

    Errors: BackendMissingError without OpenCV. InputError when it cannot be opened.
    """

    def __init__(self, name: str) -> None:
        self._cv2, self._name = opencv(), f"camera {name}"
        self._is_file = Path(name).is_file()
        mend = (
            "check that its number, path or address is right, that it is connected, that this program may use it, "
            "and that no other one does"
        )
        with failing(self._name, "open", mend, kind=InputError):
            self._capture = self._cv2.VideoCapture(int(name) if name.isdecimal() else name)
        if not self._capture.isOpened():
            raise InputError(f"{self._name} should open but does not; {mend}")
        self._fresh, self._stop = threading.Condition(), threading.Event()
        self._picture: Pixels | None = None
        self._silent, self._over = 0.0, False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether the last picture of a file was returned."""
        return self._over and self._picture is None

    def newest(self, wait: float) -> Pixels | None:
        """Return the newest picture, uint8 H x W x 3, or None if none is new within `wait` s.

        Errors: InputError when none has come for some seconds.
        """
        with self._fresh:
            self._fresh.wait_for(lambda: self._picture is not None or self._over, wait)
            picture, self._picture = self._picture, None
        self._silent = self._silent + wait if picture is None else 0.0
        if self._silent > SILENT_S and not self._over:
            raise InputError(
                f"{self._name} should deliver pictures but has delivered none for {SILENT_S:.0f} s; "
                "check its cable and its cover, and that no other program uses it"
            )
        return picture

    def close(self) -> None:
        """Release the camera."""
        self._stop.set()
        self._thread.join(RELEASE_S)

    def _read(self) -> None:
        begun = time.monotonic()
        try:
            while not self._stop.is_set():
                picture = self._next()
                if picture is not None:
                    if self._is_file:
                        due = begun + self._capture.get(self._cv2.CAP_PROP_POS_MSEC) / 1000
                        self._stop.wait(max(0.0, due - time.monotonic()))
                    with self._fresh:
                        self._picture = picture
                        self._fresh.notify()
                elif self._is_file:
                    return
                else:
                    self._stop.wait(RETRY_S)
        finally:
            self._capture.release()
            with self._fresh:
                self._over = True
                self._fresh.notify()

    def _next(self) -> Pixels | None:
        """The next picture; None when there is none, or when it is damaged."""
        try:
            there, picture = self._capture.read()
            return self._cv2.cvtColor(picture, self._cv2.COLOR_BGR2RGB) if there else None
        except self._cv2.error:
            return None


class Window:
    """A window that shows pictures, opened with the first one. All calls come from the main thread.

    Errors: BackendMissingError without OpenCV. InputError when there is no screen.
    """

    def __init__(self) -> None:
        self._cv2, self._title = opencv(), "BNCAGAN"
        self._open = self._seen = False
        _require_screen()

    @property
    def closed(self) -> bool:
        """Whether the user has closed the window."""
        if not self._open:
            return False
        try:
            visible = self._cv2.getWindowProperty("BNCAGAN", self._cv2.WND_PROP_VISIBLE) > 0
        except self._cv2.error:  # what Qt and macOS say of a window that is gone
            return True
        self._seen = self._seen or visible  # some builds never tell
        return self._seen and not visible and sys.platform != "darwin"  # where a window in the Dock is not visible

    def show(self, picture: Pixels, title: str) -> None:
        """Show a picture, uint8 H x W x 3.

        Errors: InputError when no window can be opened.
        """
        cv2 = self._cv2
        if not self._open:
            height, width = picture.shape[:2]
            scale = min(1.0, LARGEST[0] / width, LARGEST[1] / height)
            with failing("a live picture", "be shown in a window", SCREENS, but="cannot be", kind=InputError):
                cv2.namedWindow("BNCAGAN", cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow("BNCAGAN", round(scale * width), round(scale * height))
            self._open = True
        cv2.imshow("BNCAGAN", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if title != self._title:
            cv2.setWindowTitle("BNCAGAN", title)
            self._title = title

    def key(self) -> str:
        """Let the window work, and return the key that was pressed, in lower case, or an empty string."""
        code = self._cv2.waitKey(1) if self._open else -1
        return chr(code & 0xFF).lower() if code >= 0 else ""

    def close(self) -> None:
        """Close the window."""
        if self._open:
            self._cv2.destroyAllWindows()


SCREENS = "start it on a desktop (on Linux with X11 or XWayland), with opencv-python and not opencv-python-headless"


def _require_screen() -> None:
    """InputError when no window can be opened. Only on Linux it is tried: elsewhere a user has a screen."""
    if sys.platform != "linux":
        return
    reason = "DISPLAY is not set"
    if os.environ.get("DISPLAY"):
        tried = subprocess.run([sys.executable, "-c", OPEN_WINDOW], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return
        lines = [line.strip() for line in tried.stderr.splitlines() if line.strip()] or ["it ended"]
        reason = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    raise InputError(f"a live picture should be shown in a window but cannot be ({reason}); {SCREENS}")
