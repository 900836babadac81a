"""Where the result of a photograph goes: a name that depends on the photograph's own name alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from runtimes.errors import InputError
from runtimes.photographs.encoding import FORMATS

BACKUP = ".orig"  # NAME.orig.EXT is the original of a NAME.EXT that was enhanced in place
_INSTEAD = {".gif": ".png"}  # of formats that cannot be written; those without an entry become .jpg


@dataclasses.dataclass(frozen=True, kw_only=True)
class Naming:
    """What results are called, and what may be replaced.

    Errors: InputError when two settings contradict each other, or when one cannot be used.
    """

    out: Path | None = None
    """Folder of the results; None with `in_place`."""
    format: str | None = None
    """Suffix of the format to write, such as "jpg"; None for that of each photograph."""
    suffix: str = ""
    """Text to add to each name, before its suffix."""
    skip_existing: bool = False
    """Leave out photographs whose result exists."""
    overwrite: bool = False
    """Replace results that exist."""
    in_place: bool = False
    """Put the result in the place of the photograph."""
    backup: bool = True
    """With `in_place`, keep the photograph as NAME.orig.EXT."""

    def __post_init__(self) -> None:
        if self.in_place == (self.out is not None):
            given = f"{self.out} and in place" if self.in_place else "neither"
            raise InputError(
                f"results should go either into a folder (--out) or in place (--in-place) but {given} was asked for; "
                "choose one"
            )
        in_place = [
            ("--skip-existing with --overwrite", self.skip_existing and self.overwrite),
            ("--in-place with --format", self.in_place and self.format is not None),
            ("--in-place with --suffix", self.in_place and self.suffix != ""),
            ("--in-place with --overwrite", self.in_place and self.overwrite),
            ("--no-backup without --in-place", not self.backup and not self.in_place),
            ("--no-backup with --skip-existing", not self.backup and self.skip_existing),
        ]
        for names, given_together in in_place:
            if given_together:
                raise InputError(f"options should not contradict each other but {names} does; leave one of them out")
        if Path(self.suffix).name != self.suffix:
            raise InputError(f"--suffix should be a part of a file's name but is {self.suffix!r}; use no slash")
        if self.format is not None and f".{self.format}" not in FORMATS:
            raise InputError(
                f"--format should be one of {', '.join(suffix[1:] for suffix in FORMATS)} but is {self.format!r}; "
                "choose one of them"
            )

    def name(self, photograph: Path) -> Path:
        """Return the path of the result below `out`, for a photograph's path below the folder that was named.

        The result keeps the name. If its format is another one, the new suffix follows the whole name: the result of
        a.heic is a.heic.jpg, so that it is never taken for that of a.jpg.
        """
        own = photograph.suffix.lower()
        new = f".{self.format}" if self.format else own if own in FORMATS else _INSTEAD.get(own, ".jpg")
        if FORMATS.get(own) is FORMATS[new]:
            return photograph.with_name(f"{photograph.stem}{self.suffix}{photograph.suffix}")
        return photograph.with_name(f"{photograph.name}{self.suffix}{new}")

    def is_result(self, file: Path) -> bool:
        """Whether the name of a file says that it is an earlier result, or a backup, of a photograph beside it."""
        mark = BACKUP if self.in_place else self.suffix
        if not mark or not file.stem.endswith(mark):
            return False
        stem = file.stem.removesuffix(mark)
        return stem != "" and any((file.parent / name).is_file() for name in (f"{stem}{file.suffix}", stem))


def backup_of(file: Path) -> Path:
    """Return the path at which the original of a file is kept: NAME.orig.EXT."""
    return file.with_name(f"{file.stem}{BACKUP}{file.suffix}")
