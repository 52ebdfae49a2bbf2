"""An index's signed metadata, read by python-tuf's own client. SPEC section 13.

What python-tuf decides: signatures, thresholds, key rotation, versions that go back, states that
are mixed or too old. What is decided here: the metadata is JSON that means the same to every
reader, no key counts twice under two names, and no part of the list is handed to others, since
nobody here would read it.
"""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Signed
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from hive_expert.errors import IndexRefusedError, Problem
from hive_expert.manifest.strict_json import read_json
from hive_expert.sharing.entries import ENTRIES_FILE, MAX_ENTRIES_BYTES, Entries, parse_entries

MAX_METADATA_BYTES = 5_000_000
CONFIG = UpdaterConfig(max_root_rotations=256, max_delegations=0)

_RENEWED_WITH = {"root": "a root key", "targets": "a targets key and the online key"}
"""The keys that a role of TUF is renewed with, where it is not the online key alone."""

ReadFile = Callable[[str, int], bytes | None]
"""Content of a file of the index, with at most so many bytes; None where there is no such file."""


def verified_entries(read: ReadFile, state: Path, root: bytes, where: str) -> Entries:
    """What an index lists, after all of its metadata was verified.

    ``state`` is the folder that remembers what was verified before, and ``root`` the root metadata
    that the user began with. Raises IndexRefusedError; what was verified on the way is remembered
    all the same, as the TUF specification asks (section 5.3).
    """
    with _alone(state), _translated(where):
        strict = _StrictFetcher(read, where)
        strict.require_plain(root, "root.json")
        updater = Updater(
            metadata_dir=str(state / "metadata"),
            metadata_base_url="metadata/",
            target_dir=str(state / "targets"),
            target_base_url="targets/",
            fetcher=strict,
            config=CONFIG,
            bootstrap=root,
        )
        try:
            updater.refresh()
        except exceptions.ExpiredMetadataError as exc:
            raise _too_old(where, state, strict.newest) from exc
        target = updater.get_targetinfo(ENTRIES_FILE)
        if target is None:
            raise IndexRefusedError(Problem(where, f"its signed metadata names no {ENTRIES_FILE}"))
        if target.length > MAX_ENTRIES_BYTES:
            raise IndexRefusedError(Problem(where, f"{ENTRIES_FILE} is larger than is allowed"))
        path = updater.find_cached_target(target) or updater.download_target(target)
        return parse_entries(Path(path).read_bytes(), f"{where}: {ENTRIES_FILE}")


def renewal(role: str) -> str:
    """What the keeper of an index does so that a role's metadata does not expire."""
    return f"hive index sign with {_RENEWED_WITH.get(role, 'the online key')}"


class _StrictFetcher(FetcherInterface):
    """Hands python-tuf files of the index, metadata only if it is strict JSON."""

    def __init__(self, read: ReadFile, where: str) -> None:
        self._read, self._where = read, where
        self.newest = b""  # the metadata that was read last

    def _fetch(self, url: str) -> Iterator[bytes]:
        most = MAX_ENTRIES_BYTES if url.startswith("targets/") else MAX_METADATA_BYTES
        data = self._read(url, most)
        if data is None:
            raise exceptions.DownloadHTTPError(f"{url} is not there", 404)
        if url.startswith("metadata/"):
            self.require_plain(data, url)
            self.newest = data
        yield data

    def require_plain(self, data: bytes, name: str) -> None:
        """Raises IndexRefusedError for metadata that could be read in two ways, a root in which one
        key would count as two, and targets metadata that delegates."""
        where = f"{self._where}: {name}"
        document = read_json(
            data, where, error=IndexRefusedError, max_bytes=MAX_METADATA_BYTES, max_values=500_000
        )
        keys = _values(_part(_part(document, "signed"), "keys"))
        # Read as securesystemslib reads them: two spellings of one key are one.
        materials = Counter(
            "".join(str(_part(_part(key, "keyval"), "public")).split()).lower() for key in keys
        )
        twice = [material for material, count in materials.items() if count > 1]
        if twice:
            what = f"one key has several ids ({twice[0][:16]}…), and would count more than once"
            raise IndexRefusedError(Problem(where, what))
        if _part(_part(document, "signed"), "delegations"):
            what = "hands parts of its list to others (delegations), which is not supported"
            raise IndexRefusedError(Problem(where, what, "one role signs the list of an index"))


def _too_old(where: str, state: Path, newest: bytes) -> IndexRefusedError:
    """The error for metadata that expired, with what it is and who can renew it.

    Root and timestamp are judged once more when what follows them is read, so they may be what
    expired though another file was the newest one.
    """
    kept = [state / "metadata" / name for name in ("root.json", "timestamp.json")]
    documents = [*(path.read_bytes() for path in kept if path.is_file()), newest]
    parsed: list[Signed] = [Metadata[Any].from_bytes(data).signed for data in documents]
    expired = next((signed for signed in parsed if signed.is_expired()), parsed[-1])
    told = f"{expired.type} expired on {expired.expires:%Y-%m-%d}"
    return IndexRefusedError(
        Problem(
            where,
            f"its metadata is too old ({told}): it was not renewed, or old metadata is shown",
            f"ask its keeper to renew it: {renewal(expired.type)}",
        )
    )


def _part(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """The state is written by one process at a time, as python-tuf asks."""
    try:
        for part in ("metadata", "targets"):
            (state / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        with (state / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for leftover in (state / "metadata").glob("tmp*"):
                leftover.unlink(missing_ok=True)
            yield
    except OSError as exc:
        raise IndexRefusedError(
            Problem(str(exc.filename or state), f"cannot be used: {exc.strerror}")
        ) from exc


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """python-tuf's errors as ours. The order matters: kinds before what they are kinds of."""
    try:
        yield
    except exceptions.BadVersionNumberError as exc:
        raise IndexRefusedError(
            Problem(where, f"goes back behind what was seen before: {exc}", "ask its keeper")
        ) from exc
    except exceptions.UnsignedMetadataError as exc:
        raise IndexRefusedError(
            Problem(where, f"is not signed by enough of its keys: {exc}", "ask its keeper")
        ) from exc
    except exceptions.LengthOrHashMismatchError as exc:
        raise IndexRefusedError(
            Problem(where, f"has a file that is not the one that was signed: {exc}")
        ) from exc
    except exceptions.DownloadError as exc:
        raise IndexRefusedError(Problem(where, f"is not complete: {exc}")) from exc
    except (exceptions.RepositoryError, ValueError) as exc:
        raise IndexRefusedError(Problem(where, f"has metadata that is not valid: {exc}")) from exc
