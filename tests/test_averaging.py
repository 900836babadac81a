"""The mean of checkpoints: weights against NumPy's mean, and checkpoints that cannot be averaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.network.checkpoint import load_generator, save_generator
from bncagan.network.model import Generator

MakeGenerator = Callable[..., Generator]


@pytest.fixture
def checkpoints(tmp_path: Path, random_generator: MakeGenerator) -> list[str]:
    """Three generators of width 4 near each other; their running styles are means of different numbers of steps."""
    paths = []
    start = random_generator(4, seed=0).state_dict()
    for seed in range(3):
        generator = random_generator(4, seed=seed)
        near = {name: start[name] + value / 4 for name, value in generator.state_dict().items() if "rho" not in name}
        generator.load_state_dict(near, strict=False)
        generator.style_updates.fill_((3, 11, 5)[seed])
        paths.append(tmp_path / f"{seed}.safetensors")
        save_generator(paths[-1], generator, ModelConfig(width=4), {"step": seed})
    return [str(path) for path in paths]


def test_every_weight_is_the_mean_and_counts_are_the_largest(tmp_path: Path, checkpoints: list[str]) -> None:
    out = tmp_path / "new" / "mean.safetensors"
    assert main(["average", *checkpoints, "--out", str(out)]) == 0
    parts = [load_file(path) for path in checkpoints]
    averaged = load_file(out)
    assert averaged.keys() == parts[0].keys()
    assert averaged.pop("style_updates") == 11
    for name, value in averaged.items():
        expected = np.mean([part[name].astype(np.float64) for part in parts], axis=0)
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-8, err_msg=name)


def test_the_file_says_where_it_came_from_and_repeated_checkpoints_weigh_more(
    tmp_path: Path, checkpoints: list[str]
) -> None:
    out = tmp_path / "mean.safetensors"
    assert main(["average", checkpoints[0], checkpoints[0], checkpoints[1], "--out", str(out)]) == 0
    generator, description = load_generator(out)
    first, second = (load_generator(path)[0].encoder.conv1.weight for path in checkpoints[:2])
    np.testing.assert_allclose(generator.encoder.conv1.weight, (2 * first + second) / 3, rtol=1e-5, atol=1e-7)
    parts = description["training"]["average_of"]
    assert [part["training"]["step"] for part in parts] == [0, 0, 1]
    hashes = [part["unfolded_sha256"] for part in parts]
    assert hashes[0] == hashes[1] != hashes[2]


def test_one_checkpoint_and_another_network_are_refused_in_one_sentence(
    tmp_path: Path, checkpoints: list[str], random_generator: MakeGenerator, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mean.safetensors"
    assert main(["average", checkpoints[0], "--out", str(out)]) == 2
    assert "at least two but are 1; " in capsys.readouterr().err
    other = tmp_path / "other.safetensors"
    save_generator(other, random_generator(4, use_aac=False), ModelConfig(width=4, use_aac=False), {})
    assert main(["average", checkpoints[0], str(other), "--out", str(out)]) == 2
    assert f"{other} should hold the network of {checkpoints[0]}" in capsys.readouterr().err
    assert not out.exists()


def test_networks_without_a_common_start_are_refused(
    tmp_path: Path, checkpoints: list[str], random_generator: MakeGenerator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measured by the cosine of their weights, against NumPy's."""
    stranger, out = tmp_path / "stranger.safetensors", tmp_path / "mean.safetensors"
    save_generator(stranger, random_generator(4, seed=9), ModelConfig(width=4), {})
    assert main(["average", checkpoints[0], checkpoints[1], str(stranger), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    one, other = (
        np.concatenate([w.ravel().astype(np.float64) for n, w in sorted(load_file(path).items()) if n[-6:] == "weight"])
        for path in (checkpoints[0], stranger)
    )
    cosine = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
    assert f"{stranger} should descend from the same weights as {checkpoints[0]} but the cosine" in said
    assert f"is {cosine:.2f}; average" in said
    assert not out.exists()


def test_an_average_of_tone_heads_is_not_compared(tmp_path: Path, random_generator: MakeGenerator) -> None:
    names = []
    for seed in (1, 2):
        names.append(str(tmp_path / f"head{seed}.safetensors"))
        save_generator(Path(names[-1]), random_generator(0, tone=True, seed=seed), ModelConfig(width=0, tone=True), {})
    assert main(["average", *names, "--out", str(tmp_path / "mean.safetensors")]) == 0


def test_an_average_never_replaces_what_it_is_of(
    checkpoints: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path(checkpoints[1]).read_bytes()
    assert main(["average", *checkpoints, "--out", checkpoints[1]]) == 2
    assert f"--out {checkpoints[1]} should be a new file but is one of those" in capsys.readouterr().err
    assert Path(checkpoints[1]).read_bytes() == before
    out = tmp_path / "file"
    out.write_text("no folder")
    assert main(["average", *checkpoints, "--out", str(out / "mean.safetensors")]) == 2
    assert "Traceback" not in capsys.readouterr().err
