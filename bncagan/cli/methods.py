"""The methods that a command is to score: their names, and what opens them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runtimes.errors import InputError

if TYPE_CHECKING:
    from runtimes.image import Pixels


class Given(NamedTuple):
    """A method as the command line names it."""

    option: str
    """checkpoint, artifact or outputs."""
    what: str
    """The file, the folder, or the name of shipped weights."""


def named_methods(asked: Sequence[Given], reserved: Collection[str]) -> dict[str, Given]:
    """Every method by the name of its row; what is given as NAME=PATH has that name, and loses it.

    Other names are the shortest ends of paths, without suffix, that tell them apart: best alone, but a/best and b/best
    together. InputError if two methods have one name or are the same, or if one has a name in `reserved`.
    """
    from bncagan.network.checkpoint import shipped_names

    split = [_split(given) for given in asked]
    if len(set(split)) < len(split):
        twice = next(given for _, given in split if split.count((_, given)) > 1)
        raise InputError(f"--{twice.option} {twice.what} should be given once but is given twice; leave one out")
    taken = Counter([*reserved, *(name for name, _ in split if name is not None)])
    for name, given in split:
        if name is not None and taken[name] > 1:
            raise InputError(
                f"--{given.option} {name}={given.what} should have a name of its own but another row has that name, "
                "too; choose another NAME"
            )
    paths = {given: _ends(given, given.what in shipped_names()) for name, given in split if name is None}
    whole = Counter(ends[-1] for ends in paths.values())
    for given, ends in paths.items():
        if whole[ends[-1]] > 1:  # they differ in their suffixes alone
            paths[given] = [end + Path(given.what).suffix for end in ends]
    names = _shortest(paths, taken)
    return {names[given] if name is None else name: given for name, given in split}


def refuse_same_names(names: Collection[str], others: Collection[str]) -> None:
    """InputError if the row of a tone head alone has the name of another row."""
    same = next((name for name in names if name in others), None)
    if same is not None:
        raise InputError(f"{same!r} should be the name of one row but is that of two; name a method by NAME=PATH")


def _split(given: Given) -> tuple[str | None, Given]:
    """The name in NAME=PATH, or None, and the rest; a path that exists is never taken apart."""
    name, equals, path = given.what.partition("=")
    if not equals or not name or os.sep in name or "/" in name or Path(given.what).exists():
        return None, given
    return name, given._replace(what=path)


def _ends(given: Given, shipped: bool) -> list[str]:
    """The ends of a path from the shortest to the whole; shipped weights have their name alone."""
    if shipped and given.option == "checkpoint":
        return [given.what]
    path = Path(os.path.abspath(given.what))  # noqa: PTH100 (`resolve` would replace the names of links)
    parts = list(path.parts if given.option == "outputs" else path.with_suffix("").parts)
    return ["/".join(parts[-depth:]).replace("//", "/") for depth in range(1, len(parts) + 1)]


def _shortest(paths: dict[Given, list[str]], taken: Collection[str]) -> dict[Given, str]:
    """The shortest end of each path that no other path has and that is not taken."""
    depths = dict.fromkeys(paths, 0)
    while True:
        names = {given: paths[given][depth] for given, depth in depths.items()}
        count = Counter([*names.values(), *taken])
        longer = [g for g, name in names.items() if count[name] > 1 and depths[g] + 1 < len(paths[g])]
        if not longer:
            break
        for given in longer:
            depths[given] += 1
    stuck = next((given for given, name in names.items() if count[name] > 1), None)
    if stuck is not None:
        raise InputError(
            f"--{stuck.option} {stuck.what} should have a name of its own but another row is named {names[stuck]!r}, "
            f"too; give it one: --{stuck.option} NAME={stuck.what}"
        )
    return names


def open_enhancer(option: str, what: str, stack: ExitStack, max_side: int | None = None) -> Callable[[Pixels], Pixels]:
    """A function that enhances uint8 H x W x 3.

    option: "artifact" for an exported file, which `stack` closes, or "checkpoint".
    what: the file, or the name of shipped weights.
    max_side: an artifact sees a photograph with a longer side (px) reduced; None runs any size whole.
    """
    if option == "artifact":
        import runtimes

        runtime = stack.enter_context(runtimes.load(what))
        return lambda pixels: runtime.enhance(
            pixels, max_side=max(runtimes.shape_choice.MAX_SIDE, *pixels.shape) if max_side is None else max_side
        )
    from bncagan.network.checkpoint import load_generator
    from bncagan.network.inference import enhance

    generator, _ = load_generator(what)
    return lambda pixels: enhance(generator, pixels)
