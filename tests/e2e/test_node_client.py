"""The README's JavaScript, run by Node with the plain openai package."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Server

pytestmark = [pytest.mark.e2e, pytest.mark.node]

PACKAGE = "openai@7.57.0"


def snippet() -> str:
    (found,) = re.findall(r"```js\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return str(found)


def test_the_readme_s_client_gets_answers_streams_and_headers(
    server: Server, tmp_path: Path
) -> None:
    install = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(tmp_path)]
    subprocess.run([*install, PACKAGE], check=True, timeout=300)
    script = tmp_path / "client.mjs"
    script.write_text(snippet().replace("http://127.0.0.1:8000", server.url))
    done = subprocess.run(
        ["node", script], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    whole, streamed = done.stdout.split("\n", 1)
    assert whole.startswith("SELECT")
    assert " expert-sql@" in whole
    assert streamed == whole.partition(" expert-sql@")[0]
