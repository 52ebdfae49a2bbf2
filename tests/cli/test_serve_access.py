"""What `hive-serve`'s access options make of a command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import rich_click as click
from click.testing import CliRunner

from hive_expert.cli.serve_access import (
    AccessOptions,
    access_options,
    door_settings,
    request_limits,
)
from hive_expert.errors import UsageError

KEY = "alice-key-0123456789"


def parsed(*arguments: str) -> AccessOptions:
    found: list[AccessOptions] = []

    @click.command()
    @access_options
    def command(access: AccessOptions) -> None:
        found.append(access)

    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    return found[0]


def test_limits_reach_the_server() -> None:
    access = parsed(
        "--max-waiting", "7", "--max-per-key", "3", "--max-body-mib", "2", "--max-n", "5",
        "--max-logprobs", "0", "--max-stops", "3", "--max-prompt-tokens", "99",
        "--allow-origin", "https://Chat.example.org/",
    )  # fmt: skip
    door = door_settings("127.0.0.1", 16, access)
    assert (door.traffic.running, door.traffic.waiting, door.traffic.per_tenant) == (16, 7, 3)
    assert door.body.max_bytes == 2 * 2**20
    assert door.origins == {"https://chat.example.org"}
    limits = request_limits(access)
    assert (limits.choices, limits.logprobs, limits.stops) == (5, 0, 3)
    assert limits.prompt_tokens == 99


def test_the_loopback_needs_no_key() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        assert door_settings(host, 1, parsed()).local


def test_other_addresses_need_keys_or_the_word() -> None:
    with pytest.raises(UsageError, match="allow-anyone"):
        door_settings("0.0.0.0", 1, parsed())
    with pytest.raises(UsageError, match="no key"):
        door_settings("192.168.1.2", 1, parsed("--admin-key", KEY))
    assert not door_settings("0.0.0.0", 1, parsed("--api-key", KEY)).local
    assert not door_settings("0.0.0.0", 1, parsed("--allow-anyone")).local


def test_keys_in_the_environment_are_taken_out_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVE_API_KEY", f"alice {KEY}")
    door = door_settings("0.0.0.0", 1, parsed())
    assert [key.tenant for key in door.keys.load(local=False).inference] == ["alice"]
    assert "HIVE_API_KEY" not in os.environ


def test_a_file_that_others_can_read_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{KEY}\n")
    path.chmod(0o600)
    door_settings("127.0.0.1", 1, parsed("--api-key-file", str(path)))
    assert "chmod" not in capsys.readouterr().err
    path.chmod(0o644)
    door_settings("127.0.0.1", 1, parsed("--api-key-file", str(path)))
    assert "chmod 600" in capsys.readouterr().err
