"""serve: show the browser page on this machine."""

from __future__ import annotations

import errno
import functools
import http.server
import os
from dataclasses import dataclass
from pathlib import Path

from runtimes.command import Flag
from runtimes.errors import InputError

BUILT = Path(__file__).parents[2] / "apps" / "web" / "dist"
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
TYPES |= {".webmanifest": "application/manifest+json", ".onnx": "application/octet-stream"}
HEADERS = {
    # WebAssembly has threads only in a page that no other origin shares a process with
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Content-Security-Policy": "default-src 'self' blob: data:; script-src 'self' blob: 'wasm-unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self'",  # photographs cannot leave the page
    "Cache-Control": "no-cache",  # ask whether a file has changed
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Show the browser page on this machine, for its own browser; Ctrl-C ends it."""

    port: int = 8000
    """Port; 0 takes a free one."""
    folder: Path = BUILT
    """Folder of the built page."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Serve until Ctrl-C."""
        with page_server(self.folder, self.port) as server:
            print(f"http://localhost:{server.server_port}/ shows {self.folder}; Ctrl-C ends it", flush=True)
            server.serve_forever()
        return 0


def page_server(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Bind a server of a built page to a port of this machine alone.

    Errors: InputError when the folder holds no page, or when the port cannot be used.
    """
    if not (folder / "index.html").is_file():
        raise InputError(
            f"{folder} should hold the built page but does not; run `make web` in a clone, or name a folder by --folder"
        )
    if not 0 <= port <= 65535:
        raise InputError(f"--port should be from 0 to 65535 but is {port}; choose another")
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Page, directory=str(folder)))
    except OSError as error:
        if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
        raise InputError(
            f"port {port} should be free but is not ({error.strerror}); choose another by --port"
        ) from error


class Page(http.server.SimpleHTTPRequestHandler):
    """Files of the page, compressed where `npm run build` has done so."""

    protocol_version = "HTTP/1.1"
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | TYPES  # the base class's

    def send_head(self) -> object:  # type: ignore[override]
        """Send a file's headers, and return it, open; the compressed file if there is one and the browser takes it."""
        path = Path(self.translate_path(self.path))
        packed = path.with_name(f"{path.name}.br")
        takes = {part.split(";")[0].strip() for part in self.headers.get("Accept-Encoding", "").split(",")}
        if "br" not in takes or not packed.is_file():
            return super().send_head()
        file = packed.open("rb")
        self.send_response(http.HTTPStatus.OK)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "br")
        self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
        self.end_headers()
        return file

    def end_headers(self) -> None:
        """Send the headers that every answer has."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the base class's name
        """Print nothing for each request."""
