"""Nothing that a stranger hands over runs a command, or writes outside its place."""

from __future__ import annotations

import json
import os
import re
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from hive_expert.cli.hive import main
from hive_expert.errors import HiveError, InstallError, RepositoryError, SourceError
from hive_expert.sharing.entries import parse_entries
from hive_expert.sharing.install import install, install_locked
from hive_expert.sharing.limits import Limits
from hive_expert.sharing.lock import LOCK_FILE, parse_lock
from hive_expert.sharing.repository import Access
from hive_expert.sharing.source import GitSource, parse_source
from tests.sharing.hostile import documents, sources
from tests.sharing.hostile.repositories import CASES, HARMLESS, SERVERS, Case
from tests.sharing.world import NAME, Repository, User, package, served

LIMITS = Limits(seconds=60, bytes=8 << 20, package_bytes=4 << 20)
PROGRAMS = ("ssh", "hg", "bzr", "svn", "curl", "wget", "git-remote-hg", "git-remote-testgit",
            "git-lfs", "gpg", "less", "vi", "editor", "git-evil")  # fmt: skip


@pytest.fixture
def canaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that anything hostile writes into when it runs; it must stay empty.

    The programs that git could be made to start lie first on the PATH, and write there too.
    """
    folder = tmp_path / "canaries"
    programs = tmp_path / "programs"
    for place in (folder, programs):
        place.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text(f"#!/bin/sh\ntouch {folder / name}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("GIT_SSH_COMMAND", f"touch {folder / 'environment'}")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {folder / 'environment'}")
    monkeypatch.setenv("GIT_ALTERNATE_OBJECT_DIRECTORIES", "/etc")
    monkeypatch.chdir(folder)
    yield folder
    assert list(folder.iterdir()) == [], "a command was run"


def test_there_are_more_than_two_hundred_cases() -> None:
    numbers = {
        "sources": len(sources.ALL),
        "repositories": len(CASES),
        "servers": len(SERVERS) + len(OVER_TLS),
        "index entries": len(documents.ENTRY_CHANGES),
        "lock files": len(documents.INSTALLED_CHANGES),
    }
    assert sum(numbers.values()) >= 350, numbers
    assert numbers["sources"] >= 200, numbers
    assert numbers["repositories"] >= 80, numbers


@pytest.mark.parametrize("text", sources.ALL)
def test_a_hostile_source_is_refused_before_anything_is_done(text: str) -> None:
    with pytest.raises(SourceError) as refused:
        parse_source(text)
    told = str(refused.value)
    assert told.isprintable() or "\n" in told
    assert "\x1b" not in told


@pytest.mark.parametrize("text", sources.ALL[::9])
def test_the_command_line_refuses_it_too(text: str, canaries: Path, home: Path) -> None:
    result = CliRunner().invoke(main, ["install", "--experts-dir", str(home / "e"), "--", text])
    assert result.exit_code == 2, result.output
    assert not (home / "e").exists()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_hostile_repository(
    case: Case, canaries: Path, user: User, repository: Repository, tmp_path: Path
) -> None:
    case.build(repository, tmp_path)
    before = outside(tmp_path)
    site = user.site(access=Access(limits=LIMITS))
    if case.reason == HARMLESS:
        install([GitSource(repository.url)], site)
        (installed,) = user.directory.glob("*.expert")
        assert installed.read_bytes() == package(tmp_path).read_bytes()
    else:
        with pytest.raises(HiveError) as refused:
            install([GitSource(repository.url)], site)
        assert re.search(case.reason, str(refused.value)), str(refused.value)
        assert user.installed() == {}
    assert outside(tmp_path) == before


def outside(tmp_path: Path) -> set[str]:
    """Every file there is but the user's own."""
    return {
        str(path)
        for path in tmp_path.rglob("*")
        if not path.is_relative_to(tmp_path / "home") and "packing" not in path.parts
    }


@pytest.mark.parametrize("name", SERVERS)
def test_a_hostile_server(name: str, canaries: Path, user: User, tmp_path: Path) -> None:
    access = Access(limits=Limits(seconds=3, bytes=8 << 20, stalled_seconds=2))
    with served(tmp_path, SERVERS[name]) as url, pytest.raises(RepositoryError) as refused:
        install([GitSource(f"{url}/x.git")], user.site(access=access))
    assert "\x1b" not in str(refused.value)
    assert user.installed() == {}


OVER_TLS = ("http://HERE/x", "file:///etc", "ftp://127.0.0.1/x", "ext::sh -c touch% CANARY",
            "ssh://-oProxyCommand=x/y", "git://127.0.0.1/x")  # fmt: skip


@pytest.mark.parametrize("to", OVER_TLS)
def test_an_https_server_cannot_send_us_to_another_scheme(
    to: str, canaries: Path, user: User, repository: Repository, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    repository.put(package(tmp_path))
    with (
        served(repository.path.parent) as plain,
        tls(tmp_path, to.replace("HERE", plain[7:])) as (
            url,
            certificate,
        ),
    ):
        monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
        with pytest.raises(RepositoryError) as refused:
            install([GitSource(f"{url}/experts/.git")], user.site())
    assert "certificate" not in str(refused.value)
    assert user.installed() == {}


def tls(folder: Path, to: str) -> object:
    from contextlib import contextmanager

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"{to}/experts/.git/info/refs?service=git-upload-pack")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    @contextmanager
    def running() -> Iterator[tuple[str, Path]]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(key, hashes.SHA256())
        )
        public, private = folder / "tls.pem", folder / "tls.key"
        public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(public, private)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Redirect)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"https://localhost:{server.server_address[1]}", public
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    return running()


@pytest.mark.parametrize("name", documents.ENTRY_CHANGES)
def test_an_entry_of_an_index_that_is_wrong_though_signed(name: str) -> None:
    good = json.dumps({"format": 1, "entries": [documents.ENTRY]})
    parse_entries(good.encode())
    entry = documents.ENTRY | documents.ENTRY_CHANGES[name]
    with pytest.raises(HiveError):
        parse_entries(json.dumps({"format": 1, "entries": [entry]}).encode())


@pytest.mark.parametrize("name", documents.INSTALLED_CHANGES)
def test_a_lock_file_that_is_wrong(name: str, canaries: Path, user: User) -> None:
    good = json.dumps({"format": 1, "experts": {NAME: documents.INSTALLED}})
    parse_lock(good.encode())
    entry = documents.INSTALLED | documents.INSTALLED_CHANGES[name]
    user.directory.mkdir(parents=True)
    lock = json.dumps({"format": 1, "experts": {NAME: entry}})
    (user.directory / LOCK_FILE).write_text(lock)
    with pytest.raises(InstallError):
        install_locked(user.site())
    assert (user.directory / LOCK_FILE).read_text() == lock


def test_only_the_newest_commit_is_fetched(
    user: User, repository: Repository, tmp_path: Path, home: Path
) -> None:
    from hive_expert.sharing.git import size_of
    from tests.sharing.hostile.repositories import giant_history

    giant_history(repository, tmp_path)
    install([GitSource(repository.url)], user.site())
    assert size_of(repository.path / ".git") > 20 << 20
    assert size_of(home / "data" / "repositories") < 1 << 20


def test_a_server_that_can_sends_only_the_packages(
    user: User, repository: Repository, tmp_path: Path, home: Path
) -> None:
    from hive_expert.sharing.git import size_of
    from tests.sharing.hostile.repositories import large

    large(repository, tmp_path)
    with served(repository.path.parent) as url:
        install([GitSource(f"{url}/experts/.git")], user.site())
    assert user.installed() == {NAME: "0.1.0"}
    assert size_of(home / "data" / "repositories") < 1 << 20
