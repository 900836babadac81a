"""rate: NIMA of photographs without references."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.table import Table

from runtimes.command import Flag
from runtimes.console import terminal, tracked
from runtimes.errors import InputError, UserError
from runtimes.files import replacing


@dataclass(frozen=True)
class Rate:
    """Rate photographs by NIMA, which needs no references; a higher score is better.

    Compare scores only with those of the same weights. A photograph that cannot be decoded is named and left out.
    """

    photos: tyro.conf.Positional[tuple[Path, ...]]
    """Photographs, or folders of them; each gets a mean of its own."""
    nima: Path
    """Weights of NIMA (MobileNetV2 or VGG16), .safetensors or .pth."""
    out: Path | None = None
    """CSV file to write, with a line for each photograph."""
    device: str = "cpu"
    """Where NIMA runs, in PyTorch's words: cpu, cuda:0, mps."""
    json: Flag = False
    """Print means and ratings as JSON instead of a table."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Rate and print; returns 1 if a photograph cannot be decoded."""
        from bncagan.evaluation.methods import device_named
        from bncagan.evaluation.nima import load_nima, nima
        from bncagan.evaluation.tables import refuse_unwritable
        from runtimes.photographs import find_photographs, read_rgb

        if not self.photos:
            raise InputError("photographs to rate should be at least one but are none; name files or folders")
        if len(set(self.photos)) < len(self.photos):
            raise InputError("photographs to rate should be named once each but one is named twice; leave it out")
        if self.out is not None:
            refuse_unwritable(self.out.absolute().parent)
        found = [(place, path) for place in self.photos for path in find_photographs(place)]
        model = load_nima(self.nima).to(device_named(self.device))
        ratings: dict[str, dict[str, float]] = {str(place): {} for place in self.photos}
        broken: list[str] = []
        for place, path in tracked(found, "rating"):
            try:
                ratings[str(place)][str(path)] = nima(model, read_rgb(path))
            except UserError as error:
                broken.append(str(error))
        self._report(ratings)
        for message in broken:
            print(message)
        return 1 if broken else 0

    def _report(self, ratings: dict[str, dict[str, float]]) -> None:
        """Write the CSV file if asked for, and print the table or the JSON values."""
        if self.out is not None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["photographs", "picture", "nima"])
                writer.writerows([place, path, each] for place, of in ratings.items() for path, each in of.items())
        means = {place: _mean(list(of.values())) for place, of in ratings.items()}
        if self.json:
            print(json.dumps({"nima": str(self.nima), "means": means, "ratings": ratings}, indent=2))
            return
        table = Table("photographs", "pictures", "NIMA", "95 % t interval of the mean")
        for place, mean in means.items():
            ends = "" if mean["low"] is None else f"{mean['low']:.3f} to {mean['high']:.3f}"
            table.add_row(place, str(mean["pictures"]), "" if mean["mean"] is None else f"{mean['mean']:.3f}", ends)
        terminal().print(table)


def _mean(ratings: list[float]) -> dict[str, Any]:
    """The number of ratings, their mean, and its interval if there are at least two."""
    from bncagan.evaluation.intervals import t_interval

    low, high = t_interval(ratings) if len(ratings) > 1 else (None, None)
    mean = sum(ratings) / len(ratings) if ratings else None
    return {"pictures": len(ratings), "mean": mean, "low": low, "high": high}
