"""What a user names as the source of a package: a git URL, a path, or an expert's name.

Pure, but for a look whether a path is there: paths may have an `@` of their own.

URLs reach git's command line, so they are taken from a narrow alphabet rather than cleaned:
block-lists of options and transports have failed everywhere. SPEC section 13.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from hive_expert.errors import Problem, SourceError
from hive_expert.manifest.versions import SEMANTIC_VERSION

MAX_CHARACTERS = 2048
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]*)://(.*)", re.DOTALL)
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[::1\]")
_SEGMENT = re.compile(r"[A-Za-z0-9._~+-]+")
_LOCAL_SEGMENT = re.compile(r"([A-Za-z0-9._~+-]|%20|%[89A-F][0-9A-F])+")
"""Folders of this machine have spaces and letters of all languages; no control characters."""
_NAME = re.compile(r"expert-[a-z0-9]+(-[a-z0-9]+)*")
_ALLOWED = "https://…, file:///…, a path like ./experts, or the name of an expert"


@dataclass(frozen=True, slots=True)
class GitSource:
    """A git repository. Law: `url` is one that :func:`parse_url` accepts."""

    url: str
    version: str | None = None

    @property
    def scheme(self) -> str:
        return self.url.partition(":")[0]


@dataclass(frozen=True, slots=True)
class PathSource:
    """A package file, a folder of packages or a git repository on this machine."""

    path: Path
    version: str | None = None


@dataclass(frozen=True, slots=True)
class NamedSource:
    """An expert by name, to be found in an index in use."""

    name: str
    version: str | None = None


Source: TypeAlias = GitSource | PathSource | NamedSource


def parse_source(text: str) -> Source:
    """Tell what a source is; `@VERSION` may follow each.

    Raises SourceError with all that is wrong with it.
    """
    if _URL.fullmatch(text) or "::" in text:
        head, slash, tail = text.rpartition("/")
        last, version = _split_version(tail)
        return GitSource(parse_url(f"{head}{slash}{last}"), version)
    if text.startswith(("/", "./", "../", "~/")) or text in (".", ".."):
        _require(text, _path_problems(text))
        return _path_source(text)
    name, version = _split_version(text)
    _require(text, _name_problems(name))
    return NamedSource(name, version)


def parse_url(text: str) -> str:
    """The URL of a repository, as it is given to git.

    Allowed are `https`, `file`, and `http` to this machine; without user, query and fragment, and
    without parts that begin with `-`. Raises SourceError with all problems.
    """
    _require(text, _url_problems(text))
    return text


def _url_problems(text: str) -> Iterator[Problem]:
    shown = _shown(text)
    if len(text) > MAX_CHARACTERS:
        yield Problem(shown, f"has more than {MAX_CHARACTERS} characters")
        return
    if not (text.isascii() and text.isprintable()) or " " in text:
        yield Problem(shown, "has spaces, control characters or characters other than ASCII")
    if "::" in text.partition("//")[0]:
        yield Problem(shown, "names a transport helper, which runs a program", f"use {_ALLOWED}")
        return
    found = _URL.fullmatch(text)
    if found is None:
        yield Problem(shown, "is no URL", f"use {_ALLOWED}")
        return
    scheme, rest = found.groups()
    authority, slash, path = rest.partition("/")
    yield from _scheme_problems(shown, scheme, authority)
    yield from _authority_problems(shown, scheme, authority)
    allowed = _LOCAL_SEGMENT if scheme == "file" else _SEGMENT
    yield from _segment_problems(shown, path if slash else "", allowed)


def _scheme_problems(shown: str, scheme: str, authority: str) -> Iterator[Problem]:
    host = _without_port(authority)
    if scheme == "http" and host not in LOOPBACK:
        yield Problem(shown, "plain http is for this machine only", "use https")
    elif scheme not in ("https", "file", "http"):
        yield Problem(shown, f"the scheme {_shown(scheme)} is not allowed", f"use {_ALLOWED}")


def _authority_problems(shown: str, scheme: str, authority: str) -> Iterator[Problem]:
    if "@" in authority:
        yield Problem(
            shown, "has a user or password in it", "they would be recorded in the lock file"
        )
        return
    if scheme == "file":
        if authority:
            yield Problem(shown, "file URLs have no host", "write file:///absolute/path")
        return
    host, port = _without_port(authority), authority[len(_without_port(authority)) :]
    if not _HOST.fullmatch(host) or ".." in host:
        yield Problem(shown, f"{_shown(host)!r} is no host name in lower case")
    if port and not (port[1:].isdigit() and len(port) <= 6 and 0 < int(port[1:]) < 65536):
        yield Problem(shown, f"{_shown(port)!r} is no port")


def _without_port(authority: str) -> str:
    if authority.startswith("["):
        return authority[: authority.find("]") + 1]
    return authority.partition(":")[0]


def _segment_problems(shown: str, path: str, allowed: re.Pattern[str]) -> Iterator[Problem]:
    if not path.strip("/"):
        yield Problem(shown, "names no repository")
        return
    for segment in path.removesuffix("/").split("/"):
        if segment in ("", ".", ".."):
            yield Problem(shown, f"has the part {segment!r}", "write the path out")
        elif segment.startswith("-"):
            yield Problem(shown, f"{_shown(segment)} would be read as an option")
        elif not allowed.fullmatch(segment):
            yield Problem(shown, f"{_shown(segment)!r} has more than A-Z, a-z, 0-9 and . _ ~ + -")


def _path_problems(text: str) -> Iterator[Problem]:
    if text.startswith("//"):
        yield Problem(_shown(text), "begins with two slashes", f"use {_ALLOWED}")
    if not text.isprintable() or len(text) > MAX_CHARACTERS:
        yield Problem(_shown(text), "is no path: it is too long or has control characters")


def _name_problems(name: str) -> Iterator[Problem]:
    if _NAME.fullmatch(name) and len(name) <= 64:
        return
    shown = _shown(name)
    if name.startswith("-"):
        yield Problem(shown, "would be read as an option", f"give {_ALLOWED}")
    elif re.match(r"[^/]*:", name):
        yield Problem(shown, "ssh and other transports are not allowed", f"use {_ALLOWED}")
    else:
        yield Problem(
            shown,
            "is no name of an expert (expert-…), no URL and no path",
            f"give {_ALLOWED}; paths begin with ./ or /",
        )


def _path_source(text: str) -> PathSource:
    """A path that is there is meant as it stands; else what follows its last `@` is a version."""
    path, at, version = text.rpartition("@")
    if at and "/" not in version and _is_there(path) and not _is_there(text):
        return PathSource(Path(path), _split_version(text)[1])
    return PathSource(Path(text))


def _is_there(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except OSError:  # a name that is too long, a folder that is closed to us
        return False


def _split_version(text: str) -> tuple[str, str | None]:
    name, at, version = text.rpartition("@")
    if not at:
        return text, None
    if not re.fullmatch(SEMANTIC_VERSION.strip("^$"), version) or len(version) > 64:
        raise SourceError(
            Problem(_shown(text), f"{_shown(version)!r} is no version", "write @0.1.0 after it")
        )
    return name, version


def _shown(text: str) -> str:
    """The text for a message: control characters could rewrite what a terminal shows, and a
    password has no place in a log."""
    open_text = re.sub(r"//[^/]*@", "//…@", text[:200])
    kept = "".join(c if (c.isascii() and c.isprintable()) or c == "…" else "?" for c in open_text)
    return kept + ("…" if len(text) > 200 else "")


def _require(text: str, problems: Iterator[Problem]) -> None:
    if found := tuple(problems):
        raise SourceError(*found)
