"""The model registry loads what it signed and nothing else."""

from pathlib import Path

import pytest
from engine_scene import Load

KEY = b"k" * 32


def model(load: Load, weight: float = 0.5):
    return load("learning.logistic").LogisticModel(("x", "y"), (0.0, 1.0), (1.0, 2.0), (weight, -0.25), 0.125)


def test_model_comes_back_as_it_was(load: Load, tmp_path: Path) -> None:
    registry = load("learning.registry").ModelRegistry(tmp_path, KEY)
    registry.save("direction", model(load))
    assert registry.load("direction") == model(load)
    assert registry.load("direction").probability({"x": 0.0, "y": 1.0}) == pytest.approx(0.5312, abs=1e-4)


def tamper(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"0.5", b"9.5"))


def swap_signature(path: Path) -> None:
    path.with_suffix(".sig").write_text("0" * 64, encoding="ascii")


def drop_signature(path: Path) -> None:
    path.with_suffix(".sig").unlink()


def spoil_signature(path: Path) -> None:
    path.with_suffix(".sig").write_bytes(b"\xff\xfe")


@pytest.mark.parametrize("attack", [tamper, swap_signature, drop_signature, spoil_signature, Path.unlink])
def test_changed_file_is_refused(load: Load, tmp_path: Path, attack) -> None:
    module = load("learning.registry")
    registry = module.ModelRegistry(tmp_path, KEY)
    attack(registry.save("direction", model(load)))
    with pytest.raises(module.UntrustedModel):
        registry.load("direction")


def test_signature_of_another_key_is_refused(load: Load, tmp_path: Path) -> None:
    module = load("learning.registry")
    module.ModelRegistry(tmp_path, b"other" * 8).save("direction", model(load))
    with pytest.raises(module.UntrustedModel, match="wrong"):
        module.ModelRegistry(tmp_path, KEY).load("direction")


def test_one_model_cannot_be_passed_off_as_another(load: Load, tmp_path: Path) -> None:
    module = load("learning.registry")
    registry = module.ModelRegistry(tmp_path, KEY)
    path = registry.save("small", model(load))
    for suffix in (".json", ".sig"):
        path.with_suffix(suffix).rename(tmp_path / f"large{suffix}")
    with pytest.raises(module.UntrustedModel):
        registry.load("large")


@pytest.mark.parametrize("name", ["../direction", "", "a/b", "Direction", "x" * 60])
def test_name_cannot_leave_the_folder(load: Load, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no model name"):
        load("learning.registry").ModelRegistry(tmp_path, KEY).load(name)


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"features": 1}', b'{"features": ["x"], "means": "1"}', b"\xff"])
def test_payload_that_is_no_model(load: Load, payload: bytes) -> None:
    logistic = load("learning.logistic")
    with pytest.raises(logistic.ModelError):
        logistic.model_from_json(payload)
