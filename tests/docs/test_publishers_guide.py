"""README's guide for publishers and keepers of an index, followed to the letter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def guide() -> str:
    """The key that README has a publisher make, and all commands of the chapter on sharing."""
    text = (ROOT / "README.md").read_text()
    keygen = re.search(r"^hive-build keygen .*$", text, re.MULTILINE)
    chapter = re.search(r"^## Share experts$(.*?)^### Changing a key$", text, re.M | re.DOTALL)
    assert keygen and chapter
    blocks = re.findall(r"```sh\n(.*?)```", chapter.group(1), re.DOTALL)
    return "\n".join((keygen.group(), *blocks))


def follow(guide: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "experts").symlink_to(ROOT / "experts")
    environment = {k: v for k, v in os.environ.items() if k != "HIVE_HOME"} | {
        "HOME": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_CONFIG_HOME": str(folder / ".config"), "XDG_DATA_HOME": str(folder / ".local/share"),
        "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org",
        "GIT_COMMITTER_NAME": "Ann", "GIT_COMMITTER_EMAIL": "ann@example.org",
    }  # fmt: skip
    return subprocess.run(
        ["bash", "-e", "-c", guide], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_it_leads_to_an_installed_expert(guide: str, tmp_path: Path) -> None:
    for step in ("hive index init", "hive index use", "hive search", "hive install expert-sql"):
        assert step in guide
    done = follow(guide, tmp_path)
    assert done.returncode == 0, done.stderr
    (installed,) = (tmp_path / "experts.d").glob("*.expert")
    assert installed.name.startswith("expert-sql-smollm2-135m.v")
    assert '"index": "experts-index"' in (tmp_path / "experts.d/experts.lock.json").read_text()


def test_without_trust_it_does_not(guide: str, tmp_path: Path) -> None:
    careless = re.sub(r"^hive trust add .*$", "", guide, flags=re.MULTILINE)
    assert careless != guide
    done = follow(careless, tmp_path)
    assert done.returncode == 1
    assert "a key you do not trust" in done.stderr
    assert not list((tmp_path / "experts.d").glob("*.expert"))
