"""Whatever a stranger writes: a URL that reaches git is made of harmless characters only."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from hive_expert.errors import IndexRefusedError, InstallError, RepositoryError, SourceError
from hive_expert.sharing.entries import parse_entries
from hive_expert.sharing.lock import parse_lock
from hive_expert.sharing.source import GitSource, NamedSource, PathSource, parse_source
from hive_expert.sharing.tree import parse_tree, read_listing

PIECES = st.sampled_from(
    ["https", "file", "http", "ext", "ssh", "::", "://", ":", "/", "//", "-", "--upload-pack=x",
     "@", "0.1.0", "..", ".", "%2e", "%20", "%C3%A9", "%0a", "\n", "\x00", " ", "example.org",
     "127.0.0.1", "localhost", "[::1]", ":80", "a", "expert-a", "?", "#", "\u202e", "~", "A"]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map("".join))


@given(TEXTS)
@example("https://example.org/x@0.1.0")
def test_what_reaches_git_is_harmless(text: str) -> None:
    try:
        source = parse_source(text)
    except SourceError as refused:
        assert refused.problems
        return
    if isinstance(source, GitSource):
        scheme, _, rest = source.url.partition("://")
        assert scheme in ("https", "file", "http")
        assert re.fullmatch(r"[A-Za-z0-9._~+%:/\[\]-]*", rest)
        assert not any(part.startswith("-") or part in (".", "..") for part in rest.split("/"))
        assert scheme != "http" or re.match(r"(127\.0\.0\.1|localhost|\[::1\])[:/]", rest)
        assert not re.search(r"%[0-7]", rest.replace("%20", ""))
        assert parse_source(source.url) == GitSource(source.url)
    elif isinstance(source, NamedSource):
        assert re.fullmatch(r"expert-[a-z0-9-]+", source.name)
    else:
        assert isinstance(source, PathSource) and text.isprintable()


@given(st.lists(st.binary(max_size=80)))
def test_no_listing_breaks_the_reader(pieces: list[bytes]) -> None:
    try:
        files = parse_tree(read_listing(pieces, 1 << 20))
    except RepositoryError:
        return
    for file in files:
        assert file.path.isprintable()
        assert not any(part in ("", ".", "..") for part in file.path.split("/"))


@given(st.binary(max_size=200))
@example(b"{}")
@example(b'{"format": 1, "experts": {}}')
def test_no_document_breaks_its_reader(data: bytes) -> None:
    for parse, refusal in ((parse_lock, InstallError), (parse_entries, IndexRefusedError)):
        try:
            parse(data)
        except refusal as error:
            assert error.problems
