"""A web page that needs no other file: each photograph with a slider between before and after."""

from __future__ import annotations

import base64
import contextlib
import html
from collections.abc import Iterator
from pathlib import Path

from runtimes.files import replacing
from runtimes.folders.plan import Result
from runtimes.folders.report import Add

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Before and after</title>
<style>
body { margin: 2rem auto; max-width: 960px; padding: 0 1rem; background: #222; color: #ddd; font-family: sans-serif }
figure { margin: 0 0 2rem }
.pair { position: relative; --at: 50% }
.pair img { display: block; width: 100% }
.pair .before { position: absolute; inset: 0; clip-path: inset(0 calc(100% - var(--at)) 0 0) }
input { width: 100%; margin: .5rem 0 }
</style>
</head>
<body>
<h1>Before and after</h1>
<p>Left of the slider: before. Right of it: after.</p>
"""
_FIGURE = """<figure>
<div class="pair"><img alt="after" src="data:image/jpeg;base64,{after}">
<img class="before" alt="before" src="data:image/jpeg;base64,{before}"></div>
<input type="range" min="0" max="100" value="50" aria-label="Before and after"
 oninput="this.previousElementSibling.style.setProperty('--at', this.value + '%')">
<figcaption>{name}</figcaption>
</figure>
"""
_END = "</body>\n</html>\n"


@contextlib.contextmanager
def writing_page(path: Path | None) -> Iterator[Add]:
    """Yield a function that adds a result with its look; the file gets its name at the end. None for no page."""
    if path is None:
        yield lambda _: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="replace") as file:
        file.write(_HEAD)

        def add(result: Result) -> None:
            if result.look is not None:
                before, after = (base64.b64encode(data).decode() for data in (result.look.before, result.look.after))
                file.write(_FIGURE.format(before=before, after=after, name=html.escape(str(result.file))))

        yield add
        file.write(_END)
