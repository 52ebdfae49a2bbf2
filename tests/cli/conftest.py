"""hive-build as a user runs it who has no settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hive_expert.cli.build import main
from tests.cli.build_results import Run
from tests.package.samples import expert_directory


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without settings."""
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "home"))
    for variable in ("HIVE_TRUST", "HIVE_KEY_PASSPHRASE", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "home"


@pytest.fixture
def run(home: Path) -> Run:
    def invoke(*arguments: object, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(main, [str(a) for a in arguments])
        assert result.exit_code == exit_code, result.output
        return result

    return invoke


@pytest.fixture
def key(run: Run, tmp_path: Path) -> Path:
    run("keygen", "--name", "Ann", "--output", tmp_path / "ann.pem")
    return tmp_path / "ann.pem"


@pytest.fixture
def package(run: Run, tmp_path: Path, key: Path) -> Path:
    directory = expert_directory(tmp_path)
    run("package", directory, "--key", key, "--output", tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*.expert")
    return path
