"""What is allowed as a source, and what it means."""

from __future__ import annotations

from pathlib import Path

import pytest

from hive_expert.errors import SourceError
from hive_expert.sharing.source import GitSource, NamedSource, PathSource, parse_source


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("https://example.org/ann/experts", GitSource("https://example.org/ann/experts")),
        ("https://example.org/x.git@0.1.0", GitSource("https://example.org/x.git", "0.1.0")),
        ("https://example.org:8443/x/", GitSource("https://example.org:8443/x/")),
        ("file:///srv/git/x.git", GitSource("file:///srv/git/x.git")),
        ("file:///srv/my%20git/%C3%A9.git", GitSource("file:///srv/my%20git/%C3%A9.git")),
        ("http://127.0.0.1:8080/x", GitSource("http://127.0.0.1:8080/x")),
        ("http://localhost/x", GitSource("http://localhost/x")),
        ("http://[::1]:80/x", GitSource("http://[::1]:80/x")),
        ("./experts", PathSource(Path("experts"))),
        ("/srv/a b/x.expert", PathSource(Path("/srv/a b/x.expert"))),
        ("~/experts", PathSource(Path("~/experts"))),
        (".", PathSource(Path())),
        ("expert-sql", NamedSource("expert-sql")),
        ("expert-sql@1.0.0-rc.1+b.2", NamedSource("expert-sql", "1.0.0-rc.1+b.2")),
    ],
)
def test_what_is_allowed(text: str, source: object) -> None:
    assert parse_source(text) == source


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SourceError) as refused:
        parse_source("ssh://ann:secret@example.org/-u/../x y")
    told = [problem.what for problem in refused.value.problems]
    assert len(told) == 6
    assert any("scheme" in what for what in told)
    assert any("user or password" in what for what in told)
    assert any("option" in what for what in told)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(SourceError, match="recorded in the lock file") as refused:
        parse_source("https://ann:secret@example.org/x")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("file", ["experts", "ann@example.org"])
def test_a_version_may_follow_a_path_that_is_there(file: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.mkdir()
    assert parse_source(f"{path}@0.1.0") == PathSource(path, "0.1.0")


def test_a_path_that_is_there_is_not_split(tmp_path: Path) -> None:
    for name in ("experts", "experts@0.1.0"):
        (tmp_path / name).mkdir()
    path = tmp_path / "experts@0.1.0"
    assert parse_source(str(path)) == PathSource(path)


def test_what_follows_a_path_must_be_a_version(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="'newest' is no version"):
        parse_source(f"{tmp_path}@newest")


def test_a_folder_with_an_at_sign_on_the_way_is_no_version(tmp_path: Path) -> None:
    (tmp_path / "ann").mkdir()
    path = tmp_path / "ann@example.org" / "experts"
    assert parse_source(str(path)) == PathSource(path)
