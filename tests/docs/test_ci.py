"""`.ci/run` says which tests it leaves out, and why."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

CI = Path(__file__).parents[2] / ".ci" / "run"


def run(home: Path, *, postgres: str = "", **programs: str) -> subprocess.CompletedProcess[str]:
    """In a folder of its own, where nothing is installed but these shell scripts."""
    folder = home / "bin"
    folder.mkdir()
    for name, text in programs.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    for name in ("bash", "dirname"):
        (folder / name).symlink_to(str(shutil.which(name)))
    (home / ".ci").mkdir()
    shutil.copy(CI, home / ".ci")
    line = [str(folder / "bash"), str(home / ".ci" / "run")]
    variables = {"PATH": str(folder), "HIVE_TEST_POSTGRES": postgres}
    return subprocess.run(line, env=variables, capture_output=True, text=True)


MAKE = 'echo "$@"'


def test_tests_are_not_left_out_without_a_word(tmp_path: Path) -> None:
    done = run(tmp_path, make=MAKE, apt_get="echo no network >&2; exit 100")
    assert done.returncode == 0, done.stderr
    assert "not browser" in done.stdout and "not node" in done.stdout
    assert "no network" in done.stderr
    assert "could not install chromium" in done.stderr
    assert "no tests marked browser" in done.stderr
    assert "no tests marked node" in done.stderr
    assert "not postgres" in done.stdout
    assert "no tests marked postgres" in done.stderr


def test_where_all_is_there_nothing_is_left_out(tmp_path: Path) -> None:
    done = run(tmp_path, postgres="postgresql://…", make=MAKE, chromium="", npm="",
               apt_get="exit 100")  # fmt: skip
    assert done.stdout.split() == ["test", "MARKS=not", "gpu"]
    assert done.stderr == ""
