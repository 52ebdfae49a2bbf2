"""README's recipe for checking a signature without our code, run to the letter."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recipe() -> str:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return next(block for block in blocks if "openssl pkeyutl" in block)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the signed package and the publisher's key the recipe names."""
    program = Path(sys.executable).parent / "hive-build"
    key = tmp_path / "publisher.pem"
    for line in (
        ("keygen", "--name", "Ann", "--output", key),
        ("package", ROOT / "experts" / "expert-sql", "--key", key, "--output", tmp_path),
    ):
        subprocess.run([program, *line], check=True, capture_output=True)
    return tmp_path


def run(recipe: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-e", "-c", recipe], cwd=folder, capture_output=True, text=True)


def test_a_sound_package_verifies(recipe: str, folder: Path) -> None:
    done = run(recipe, folder)
    assert done.returncode == 0, done.stderr
    assert "Verified Successfully" in done.stdout


def test_the_digest_is_the_hash_of_the_message(recipe: str, folder: Path) -> None:
    run(recipe, folder)
    (package,) = folder.glob("*.expert")
    program = Path(sys.executable).parent / "hive-build"
    shown = subprocess.run(
        [program, "inspect", package, "--json"], check=True, capture_output=True
    ).stdout
    digest = run("cd body && sha256sum ../message", folder).stdout.split()[0]
    assert digest == json.loads(shown)["digest"]


def test_a_changed_member_does_not(recipe: str, folder: Path) -> None:
    changed = recipe.replace("cd body\n", "cd body\necho >> README.md\n")
    assert changed != recipe
    assert run(changed, folder).returncode != 0
