"""Protocols, tables, and other programs' pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bncagan.data import find_pairs, read_rgb
from bncagan.errors import InputError
from bncagan.evaluation import evaluate, outputs_of, prepared, write_results
from tests.folders import make_data, picture


def identity(_pair: object, low: np.ndarray) -> np.ndarray:
    return low


def nothing() -> None:
    pass


def test_native_scores_are_scikit_images(tmp_path: Path) -> None:
    pairs = find_pairs(make_data(tmp_path) / "val")
    rows, _ = evaluate(pairs, lambda pair, _low: np.clip(read_rgb(pair.label), 9, 250), "native", nothing)
    label = read_rgb(pairs[0].label)
    output = np.clip(label, 9, 250)
    assert rows[0].after.psnr == pytest.approx(peak_signal_noise_ratio(label, output, data_range=255))
    assert rows[0].after.ssim == pytest.approx(structural_similarity(label, output, channel_axis=-1, data_range=255))
    assert rows[0].before.psnr == pytest.approx(peak_signal_noise_ratio(label, read_rgb(pairs[0].low), data_range=255))
    assert rows[0].before.ciede2000 > rows[0].after.ciede2000 > 0


def test_the_paper_protocol_resizes_and_leaves_out_the_border(tmp_path: Path) -> None:
    pairs = find_pairs(make_data(tmp_path) / "val")
    shapes = []

    def framed(_pair: object, low: np.ndarray) -> np.ndarray:
        shapes.append(low.shape)
        output = prepared(read_rgb(pairs[len(shapes) - 1].label), "paper").copy()
        output[:4], output[-4:], output[:, :4], output[:, -4:] = 0, 0, 0, 0
        return output

    rows, examples = evaluate(pairs, framed, "paper", nothing)
    assert shapes == [(512, 512, 3)] * 2
    assert [row.after.psnr for row in rows] == [float("inf")] * 2  # what differs lies in the border
    assert examples[0].tiles[1].shape == (512, 512, 3)


def test_results_hold_the_numbers_of_the_rows(tmp_path: Path) -> None:
    pairs = find_pairs(make_data(tmp_path / "data") / "val")
    calls: list[int] = []
    rows, examples = evaluate(pairs, identity, "native", lambda: calls.append(1))
    summary = write_results(tmp_path / "out", rows, examples, {"method": "none"})
    assert len(calls) == 2
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    means = summary["protocols"]["native"]
    assert means["pictures"] == 2
    assert means["input"] == means["output"]
    assert means["input"]["psnr"] == pytest.approx((rows[0].before.psnr + rows[1].before.psnr) / 2)
    with (tmp_path / "out" / "scores.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [line["name"] for line in read] == ["x", "y"]
    assert float(read[1]["ssim"]) == pytest.approx(rows[1].after.ssim)
    with Image.open(tmp_path / "out" / "examples.jpg") as image:
        assert image.size[0] > 600


def test_other_programs_pictures_are_found_by_name(tmp_path: Path) -> None:
    pairs = find_pairs(make_data(tmp_path / "data") / "val")
    folder = tmp_path / "theirs"
    folder.mkdir()
    Image.fromarray(read_rgb(pairs[0].label)).save(folder / "x.png")
    with pytest.raises(InputError, match="expected a picture named y"):
        evaluate(pairs, outputs_of(folder, "native"), "native", nothing)
    Image.fromarray(picture(1, 40, 40)).save(folder / "y.png")
    with pytest.raises(InputError, match="96 x 80 px like its input, got 40 x 40"):
        evaluate(pairs, outputs_of(folder, "native"), "native", nothing)
    rows, _ = evaluate(pairs, outputs_of(folder, "paper"), "paper", nothing)
    assert rows[0].after.psnr == float("inf")
    assert np.isfinite(rows[1].after.psnr)
