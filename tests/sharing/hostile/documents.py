"""Entries of indexes and lock files that are signed, or lie in the folder, and are wrong."""

# ruff: noqa: E501 - a case is easier to read on its line
from __future__ import annotations

from typing import Any

ENTRY: dict[str, Any] = {
    "name": "expert-sample", "version": "0.1.0",
    "base": {"name": "HuggingFaceTB/SmolLM2-135M-Instruct"},
    "digest": "a" * 64, "sha256": "b" * 64, "size": 1000,
    "source": {"url": "https://example.org/x.git", "commit": "c" * 40, "path": "x.expert"},
}  # fmt: skip
INSTALLED: dict[str, Any] = {
    "version": "0.1.0", "model": "smollm2-135m",
    "file": "expert-sample-smollm2-135m.v0.1.0.expert",
    "digest": "a" * 64, "sha256": "b" * 64, "size": 1000,
    "source": {"url": "https://example.org/x.git", "commit": "c" * 40, "path": "x.expert"},
}  # fmt: skip

URLS = (
    "ext::sh -c touch% CANARY", "ssh://-oProxyCommand=x/y", "--upload-pack=touch CANARY",
    "https://user:secret@example.org/x", "http://example.org/x", "https://example.org/x\r\ny", "fd::0",
    "https://example.org/-u/x", "file://example.org/x", "git://example.org/x", "",
)  # fmt: skip


def _source(**changes: Any) -> dict[str, Any]:
    return {"source": {**ENTRY["source"], **changes}}


CHANGES: dict[str, dict[str, Any]] = {
    **{f"url {url!r}": _source(url=url) for url in URLS},
    "commit that is a branch": _source(commit="main"),
    "commit that is an option": _source(commit="--upload-pack=touch CANARY"),
    "commit that is short": _source(commit="c" * 39),
    "commit with a colon": _source(commit="c" * 39 + ":"),
    "no commit": {"source": {"url": "https://example.org/x", "path": "x"}},
    "digest of another form": {"digest": "A" * 64},
    "sha256 cut short": {"sha256": "b" * 63},
    "no size": {"size": 0},
    "negative size": {"size": -1},
    "size as text": {"size": "1000"},
    "version that leads out": {"version": "../../x"},
    "version of a branch": {"version": "main"},
    "unknown key": {"run": "touch CANARY"},
    "null": {"version": None},
}
ENTRY_CHANGES = CHANGES | {
    "name that leads out": {"name": "../../expert-x"},
    "name in capitals": {"name": "EXPERT-SAMPLE"},
    "base without a name": {"base": {"sha256": "a" * 64}},
    "kind that is none": {"kinds": ["pickle"]},
    "a package of this machine": {"source": {"path": "/etc/passwd"}},
}
INSTALLED_CHANGES = CHANGES | {
    "file that leads out": {"file": "../../../.bashrc"},
    "absolute file": {"file": "/etc/passwd"},
    "file in a folder": {"file": "expert-x/../../y.v1.expert"},
    "hidden file": {"file": ".expert-x.v1.expert"},
    "file with a line break": {"file": "expert-x.v1.expert\n"},
}
