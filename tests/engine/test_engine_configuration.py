"""Configuration and secrets: what cannot be used is refused at start, by name, and without showing a secret."""

from decimal import Decimal
from pathlib import Path

import pytest
from engine_scene import Load


def read(load: Load, folder: Path, text: str):
    path = folder / "engine.toml"
    path.write_text(text, encoding="utf-8")
    return load("configuration").load_configuration(path)


def test_file_is_laid_over_the_defaults(load: Load, tmp_path: Path) -> None:
    text = """
    [risk]
    market_exposure = "12000.50"
    [execution]
    backoff_limit = 4
    [[venues]]
    name = "gamma"
    symbols = ["SOL-USD"]
    """
    configuration = read(load, tmp_path, text)
    assert configuration.risk.market_exposure == Decimal("12000.50")
    assert configuration.execution.backoff_limit == 4.0
    assert [(venue.name, venue.symbols) for venue in configuration.venues] == [("gamma", ("SOL-USD",))]
    assert configuration.learning == load("configuration").LearningSettings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rsik]\n", "did you mean `risk`"),
        ("[risk]\nmarket_exposre = '1'\n", r"did you mean `market_exposure`"),
        ("[risk]\nzzz = '1'\n", "known: market_exposure"),
        ("[risk]\nmarket_exposure = 0.5\n", "write it as text"),
        ("[risk]\nmarket_exposure = 'NaN'\n", "not finite"),
        ("[risk]\nmarket_exposure = '-1'\n", "must be above zero"),
        ("[risk]\nmarket_exposure = '60000'\n", "total_exposure must not be below"),
        ("[risk]\nmax_drawdown = '1.5'\n", "between 0 and 1"),
        ("[execution]\nattempts = true\n", "expected int, got bool"),
        ("[execution]\nattempts = 0\n", "at least 1"),
        ("[learning]\nembargo = 2\n", "below learning.horizon"),
        ("[simulation]\nstart = 2024-01-01T00:00:00\n", "needs an offset"),
        ("risk = 3\n", "must be a table"),
        ("venues = []\n", "at least one"),
        ("[[venues]]\nname = 'a b'\nsymbols = ['X']\n", "letters and digits"),
        ("[[venues]]\nname = 'a'\nsymbols = []\n", "list of symbols"),
        ("[[venues]]\nname = 'a'\nsymbol = 'X'\n", "did you mean `symbols`"),
        ("[[venues]]\nname='a'\nsymbols=['X']\n[[venues]]\nname='a'\nsymbols=['Y']\n", "names must differ"),
        ("[risk\n", "is not TOML"),
    ],
)
def test_bad_setting_is_named(load: Load, tmp_path: Path, text: str, message: str) -> None:
    error = load("configuration").ConfigurationError
    with pytest.raises(error, match=message):
        read(load, tmp_path, text)


def test_missing_file_is_named(load: Load, tmp_path: Path) -> None:
    configuration = load("configuration")
    with pytest.raises(configuration.ConfigurationError, match="cannot read"):
        configuration.load_configuration(tmp_path / "none.toml")


def test_secrets_are_all_checked_at_once_and_never_shown(load: Load) -> None:
    credentials = load("credentials")
    environment = {"TRADING_ALPHA_KEY": "id", "TRADING_ALPHA_SECRET": "too-short-value"}
    with pytest.raises(credentials.CredentialError) as caught:
        credentials.read_credentials(environment, ["alpha"])
    text = str(caught.value)
    assert "TRADING_ALPHA_SECRET has 15 characters" in text and "TRADING_MODEL_KEY is not set" in text
    assert "TRADING_HOOK_TOKEN is not set" in text and "too-short-value" not in text


def test_repr_of_credentials_holds_no_secret(load: Load) -> None:
    module = load("credentials")
    environment = {"TRADING_ALPHA_KEY": "public-id", "TRADING_ALPHA_SECRET": "s" * 32}
    environment |= {"TRADING_MODEL_KEY": "m" * 32, "TRADING_HOOK_TOKEN": "h" * 32}
    credentials = module.read_credentials(environment, ["alpha"])
    assert "public-id" in repr(credentials)
    assert all(letter * 32 not in repr(credentials) for letter in "smh")
    assert set(credentials.values()) == {"s" * 32, "m" * 32, "h" * 32}
