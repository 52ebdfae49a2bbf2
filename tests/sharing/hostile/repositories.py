"""Repositories that want more than to hold packages, and servers that send somewhere else."""

# ruff: noqa: E501 - a case is easier to read on its line
from __future__ import annotations

import os
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.sharing.world import Repository, git, package

HARMLESS = "harmless"

HOOKS = (
    "post-checkout", "post-merge", "pre-commit", "post-update", "reference-transaction",
    "pre-auto-gc", "post-index-change", "fsmonitor-watchman", "proc-receive",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A repository, made by ``build``, and a part of the reason for which it is refused."""

    id: str
    build: Callable[[Repository, Path], None]
    reason: str


def raw_tree(repository: Repository, *entries: tuple[str, bytes, str]) -> str:
    """A tree with these (mode, name, oid), however wrong; its oid."""
    ordered = sorted(entries, key=lambda e: e[1] + (b"/" if e[0] == "40000" else b""))
    content = b"".join(m.encode() + b" " + n + b"\0" + bytes.fromhex(o) for m, n, o in ordered)
    return hash_object(repository, content, "tree")


def hash_object(repository: Repository, content: bytes, kind: str = "blob") -> str:
    done = subprocess.run(
        ["git", "hash-object", "-t", kind, "-w", "--stdin", "--literally"],
        cwd=repository.path, input=content, capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout.decode().strip()


def commit_tree(repository: Repository, tree: str) -> None:
    commit = git("commit-tree", tree, "-m", "tree", cwd=repository.path)
    git("update-ref", "refs/heads/main", commit, cwd=repository.path)


def beside_a_package(
    mode: str, name: bytes, content: bytes = b"x", kind: str = "blob"
) -> Callable[[Repository, Path], None]:
    """A sound package, and an entry of that mode and name."""

    def build(repository: Repository, scratch: Path) -> None:
        made = package(scratch)
        oid = hash_object(repository, content) if kind == "blob" else "1" * 40
        if kind == "tree":
            oid = raw_tree(repository, ("100644", b"config", hash_object(repository, content)))
        entries = ((mode, name, oid),)
        sound = ("100644", made.name.encode(), hash_object(repository, made.read_bytes()))
        commit_tree(repository, raw_tree(repository, *entries, sound))

    return build


def in_a_folder(folder: bytes) -> Callable[[Repository, Path], None]:
    """The package itself below a folder of that name."""

    def build(repository: Repository, scratch: Path) -> None:
        made = package(scratch)
        blob = hash_object(repository, made.read_bytes())
        inner = raw_tree(repository, ("100644", made.name.encode(), blob))
        commit_tree(repository, raw_tree(repository, ("40000", folder, inner)))

    return build


def only(name: str, content: bytes) -> Callable[[Repository, Path], None]:
    def build(repository: Repository, scratch: Path) -> None:
        (repository.path / name).write_bytes(content)
        repository.commit()

    return build


def package_as_link(repository: Repository, scratch: Path) -> None:
    outside = scratch / "outside.expert"
    outside.write_bytes(package(scratch).read_bytes())
    (repository.path / "expert-sample-smollm2-135m.v0.1.0.expert").symlink_to(outside)
    repository.commit()


def folder_as_link(repository: Repository, scratch: Path) -> None:
    (repository.path / "packages").symlink_to(package(scratch).parent)
    repository.commit()


def twins(repository: Repository, scratch: Path) -> None:
    blob = hash_object(repository, package(scratch).read_bytes())
    commit_tree(
        repository,
        raw_tree(repository, ("100644", b"a.expert", blob), ("100644", b"A.expert", blob)),
    )


def bomb(repository: Repository, scratch: Path) -> None:
    """Ten levels of ten times the same folder: ten thousand million files in two kilobytes."""
    made = package(scratch)
    tree = raw_tree(repository, ("100644", made.name.encode(),
                                 hash_object(repository, made.read_bytes())))  # fmt: skip
    for _ in range(10):
        tree = raw_tree(repository, *(("40000", b"%d" % n, tree) for n in range(10)))
    commit_tree(repository, tree)


def many_packages(repository: Repository, scratch: Path) -> None:
    for number in range(300):
        (repository.path / f"{number}.expert").write_bytes(b"x%d" % number)
    repository.commit()


def hooks(repository: Repository, scratch: Path) -> None:
    for name in HOOKS:
        hook = repository.path / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {scratch / 'canaries' / name}\n")
    repository.put(package(scratch))
    for hook in (repository.path / ".git" / "hooks").iterdir():
        hook.chmod(hook.stat().st_mode | stat.S_IXUSR)


def attributes(text: str) -> Callable[[Repository, Path], None]:
    def build(repository: Repository, scratch: Path) -> None:
        repository.put(package(scratch))
        (repository.path / ".gitattributes").write_text(text)
        git("-c", "filter.evil.clean=cat", "add", ".gitattributes", cwd=repository.path)
        git("commit", "-q", "-m", "attributes", cwd=repository.path)
        canary = scratch / "canaries" / "filter"
        for key in ("filter.evil.smudge", "filter.evil.process", "diff.evil.textconv"):
            git("config", key, f"touch {canary}; cat", cwd=repository.path)

    return build


def configured(**settings: str) -> Callable[[Repository, Path], None]:
    """A repository whose own configuration names commands; they are read where it is served."""

    def build(repository: Repository, scratch: Path) -> None:
        repository.put(package(scratch))
        for key, value in settings.items():
            command = value.replace("CANARY", str(scratch / "canaries" / key))
            with (repository.path / ".git" / "config").open("a") as file:
                section, _, name = key.replace("__", ".").rpartition(".")
                file.write(f'[{section}]\n\t{name} = "{command}"\n')

    return build


def giant_history(repository: Repository, scratch: Path) -> None:
    """Twenty megabytes of what is no longer there; the newest commit is small."""
    for number in range(20):
        (repository.path / "noise").write_bytes(os.urandom(1 << 20))
        git("add", "-A", cwd=repository.path)
        git("commit", "-q", "-m", str(number), cwd=repository.path)
    (repository.path / "noise").unlink()
    repository.put(package(scratch))


def large(repository: Repository, scratch: Path) -> None:
    """More than the tests allow for one repository (8 MiB)."""
    (repository.path / "noise").write_bytes(os.urandom(12 << 20))
    repository.put(package(scratch))


def large_package(repository: Repository, scratch: Path) -> None:
    """Zeros, a thousand times smaller on the way, more than a package may have in the tests."""
    (repository.path / "zeros.expert").write_bytes(bytes(6 << 20))
    repository.commit()


def changed(position: float) -> Callable[[Repository, Path], None]:
    def build(repository: Repository, scratch: Path) -> None:
        made = package(scratch)
        data = bytearray(made.read_bytes())
        data[int(len(data) * position)] ^= 1
        (repository.path / made.name).write_bytes(data)
        repository.commit()

    return build


def signed_by(who: str | None) -> Callable[[Repository, Path], None]:
    def build(repository: Repository, scratch: Path) -> None:
        repository.put(package(scratch, who))

    return build


def replaced(repository: Repository, scratch: Path) -> None:
    """`git replace` shows an honest package as another one, to who heeds it."""
    made = package(scratch)
    repository.put(made)
    good = git("rev-parse", f"HEAD:{made.name}", cwd=repository.path)
    git("replace", good, hash_object(repository, b"something else"), cwd=repository.path)


def unborn(repository: Repository, scratch: Path) -> None:
    pass


def no_repository(repository: Repository, scratch: Path) -> None:
    git("update-ref", "-d", "HEAD", cwd=repository.path)
    (repository.path / ".git" / "HEAD").write_text("nonsense\n")


def tag_for_a_branch(repository: Repository, scratch: Path) -> None:
    blob = hash_object(repository, b"no commit")
    (repository.path / ".git" / "refs" / "heads" / "main").write_text(blob + "\n")


LINK = "is a symbolic link"
MODULE = "is a submodule"
GIT = "git|poses|hasDot|fsck"
FSCK = "fsck|error|poses|leads out|control|fullPath|understood"

CASES: tuple[Case, ...] = (
    Case("package that is a link outside", package_as_link, LINK),
    Case("folder that is a link outside", folder_as_link, LINK),
    *(Case(f"link to {to.decode()}", beside_a_package("120000", b"link", to), LINK)
      for to in (b"/etc/passwd", b"../../../../etc/passwd", b".git/hooks", b".", b"/dev/zero")),
    Case("submodule", beside_a_package("160000", b"module", kind="commit"), MODULE),
    Case("submodule named as a package",
         beside_a_package("160000", b"x.expert", kind="commit"), MODULE),
    *(Case(f".gitmodules with {n}", beside_a_package("100644", b".gitmodules", text), "submodule|fsck|gitmodules")
      for n, text in (
          ("ext", b'[submodule "x"]\n\tpath = x\n\turl = ext::sh -c touch% CANARY\n'),
          ("an option", b'[submodule "x"]\n\tpath = x\n\turl = -u./payload\n'),
          ("a way out", b'[submodule "../../x"]\n\tpath = x\n\turl = https://example.org/x\n'),
          ("an update command", b'[submodule "x"]\n\tpath = x\n\tupdate = !touch CANARY\n'),
          ("nothing", b""),
      )),
    Case(".GitModules", beside_a_package("100644", b".GitModules"), "submodule|fsck"),
    *(Case(f"folder {name!r}", in_a_folder(name), GIT)
      for name in (b".git", b".GIT", b".Git", b"git~1", b"GIT~1", b".git ", b".git.", b".git. . ",
                   b".g\xe2\x80\x8cit", b".gi\xe2\x80\x8et",
                   b".git::$INDEX_ALLOCATION", b".git:x")),
    *(Case(f"file {name!r}", beside_a_package("100644", name), GIT)
      for name in (b".git", b".GIT", b"git~1", b".git.", b".git\xef\xbb\xbf")),
    *(Case(f"entry {name!r}", beside_a_package("100644", name), FSCK)
      for name in (b"..", b".", b"../x", b"/etc/x", b"a/../x", b"a\nb", b"a\rb", b"\x1b[2J", b"a\\b",
                   b"\xff\xfe", b"a\x7f", b"a\tb")),
    *(Case(f"folder with {name!r}", in_a_folder(name), FSCK)
      for name in (b"..", b".", b"a\nb", b"a\x01", b"a\\b", b"\xc0\xaf")),
    Case("mode 777", beside_a_package("100777", b"x"), HARMLESS),
    Case("mode of a device", beside_a_package("020644", b"x"), "mode|fsck|Mode"),
    Case("packages that differ in capitals", twins, "other capitals"),
    Case("ten thousand million files", bomb, "lists more than"),
    Case("three hundred packages", many_packages, "more than the 256"),
    Case("no package", only("README.md", b"# nothing\n"), "holds no .expert package"),
    Case("nothing at all", unborn, "HEAD"),
    Case("no repository any more", no_repository, "git fetch"),
    Case("a branch that is a file", tag_for_a_branch, "git"),
    Case("more bytes than allowed", large, "more than the 8 MiB allowed"),
    Case("a package that unpacks to more than allowed", large_package, "more than the"),
    Case("a pointer to Git LFS", only("x.expert",
         b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), "Git LFS"),
    Case("no package but its name", only("x.expert", b"#!/bin/sh\ntouch CANARY\n"), "gzip"),
    Case("an empty package", only("x.expert", b""), "x.expert"),
    *(Case(f"a package changed at {at}", changed(at), "x|is|does")
      for at in (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.99)),
    Case("a package nobody signed", signed_by(None), "is not signed"),
    Case("a package a stranger signed", signed_by("Mallory"), "a key you do not trust"),
    # What happens where the repository lies, or in a working copy: it has nothing to act on here.
    Case("hooks", hooks, HARMLESS),
    Case("giant history", giant_history, HARMLESS),
    Case("replaced object", replaced, HARMLESS),
    *(Case(f"attributes {text.strip()!r}", attributes(text), HARMLESS)
      for text in ("* filter=evil\n", "*.expert filter=evil diff=evil\n", "* text eol=crlf\n",
                   "* ident\n", "*.expert working-tree-encoding=UTF-16\n", "*.expert export-subst\n",
                   "[attr]evil filter=evil\n* evil\n", "* filter=lfs\n")),
    *(Case(f"configured {key}", configured(**{key: value}), HARMLESS)
      for key, value in {
          "core__fsmonitor": "touch CANARY", "core__hooksPath": "CANARY",
          "core__sshCommand": "touch CANARY", "core__editor": "touch CANARY",
          "core__pager": "touch CANARY", "core__askPass": "touch CANARY",
          "core__gitProxy": "touch CANARY", "credential__helper": "!touch CANARY",
          "uploadpack__packObjectsHook": "touch CANARY", "gpg__program": "touch CANARY",
          "core__alternateRefsCommand": "touch CANARY", "alias__fetch": "!touch CANARY",
          "core__attributesFile": "/etc/passwd", "diff__external": "touch CANARY",
      }.items()),
)  # fmt: skip


Answer = Callable[[Any], bool]


def redirecting(to: str) -> Answer:
    """A server that sends everybody somewhere else."""

    def answer(handler: Any) -> bool:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.end_headers()
        return True

    return answer


def answering(status: int, body: bytes, kind: str = "text/plain") -> Answer:
    def answer(handler: Any) -> bool:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.end_headers()
        handler.wfile.write(body)
        return True

    return answer


def silent(handler: Any) -> bool:
    """Says nothing for longer than the tests wait."""
    time.sleep(4)
    return True


REFS = b"001e# service=git-upload-pack\n0000"
ADVERTISEMENT = "application/x-git-upload-pack-advertisement"

SERVERS: dict[str, Answer] = {
    **{f"redirect to {to}": redirecting(to)
       for to in ("file:///etc", "ext::sh -c touch% CANARY", "ssh://-oProxyCommand=x/y", "ftp://127.0.0.1/x",
                  "http://example.org/x", "https://example.org/x", "//example.org/x", "../../x",
                  "gopher://127.0.0.1/x", "dict://127.0.0.1:1/x", "http://169.254.169.254/latest")},
    "password asked": answering(401, b""),
    "forbidden": answering(403, b""),
    "not there": answering(404, b""),
    "server error": answering(500, b"\x1b[2Jevil"),
    "a page": answering(200, b"<html>", "text/html"),
    "nothing": answering(200, b"", ADVERTISEMENT),
    "nonsense": answering(200, b"zzzz" * 100, ADVERTISEMENT),
    "refs cut short": answering(200, REFS, ADVERTISEMENT),
    "a packet that is too long": answering(200, REFS + b"ffff", ADVERTISEMENT),
    "another place for the packs": answering(200, REFS + b"000eversion 2\n0015packfile-uris=x\n0000", ADVERTISEMENT),
    "silence": silent,
}  # fmt: skip
