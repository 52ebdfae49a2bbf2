"""What a listing of a commit may hold."""

from __future__ import annotations

import pytest

from hive_expert.errors import RepositoryError
from hive_expert.sharing.tree import TreeFile, packages_of, parse_tree, read_listing

OID = "a" * 40


def entry(path: str, mode: str = "100644", kind: str = "blob") -> bytes:
    return f"{mode} {kind} {OID}\t{path}".encode()


def test_files_are_listed_with_their_objects() -> None:
    assert parse_tree([entry("a/b.expert")]) == (TreeFile("a/b.expert", OID),)


@pytest.mark.parametrize(
    "path", ["README.md", "a b/c.txt", "\u00e9/x", ".gitignore", ".github/x", "git", "x.git/y"]
)
def test_honest_names_are_no_twins(path: str) -> None:
    assert parse_tree([entry(path)])


def test_all_that_is_refused_is_told_up_to_a_number() -> None:
    with pytest.raises(RepositoryError) as refused:
        parse_tree([entry(f"{n}", "160000", "commit") for n in range(50)])
    assert len(refused.value.problems) == 21
    assert "30 more" in str(refused.value)


def test_a_listing_is_read_in_any_pieces() -> None:
    whole = b"\0".join([entry("a"), entry("b")]) + b"\0"
    pieces = [whole[i : i + 7] for i in range(0, len(whole), 7)]
    assert list(read_listing(pieces, 1 << 20)) == [entry("a"), entry("b")]


def test_a_listing_that_does_not_end_is_not_read_to_its_end() -> None:
    def endless() -> object:
        while True:
            yield entry("a") + b"\0"

    with pytest.raises(RepositoryError, match="lists more than"):
        list(read_listing(endless(), 1 << 30))  # type: ignore[arg-type]


def test_only_packages_count() -> None:
    files = (TreeFile("b.expert", OID), TreeFile("README.md", OID), TreeFile("a.expert", OID))
    assert [f.path for f in packages_of(files)] == ["a.expert", "b.expert"]
    with pytest.raises(RepositoryError, match=r"no \.expert package"):
        packages_of(files[1:2])
