"""The members a package may have, and how large each may be. SPEC section 4.

The list is closed: whatever else turns up in a package is refused, so nothing that could be
executed or unpickled has a place to hide.
"""

from __future__ import annotations

import re

MANIFEST = "manifest.json"
SIGNATURE = "signature.sig"
ADAPTER_FOLDER = "adapter/"
ADAPTER_CONFIG = "adapter/adapter_config.json"
ADAPTER_WEIGHTS = "adapter/adapter_model.safetensors"
SOFT_PROMPT_FOLDER = "soft_prompts/"
GRAMMAR = "grammar.gbnf"
README = "README.md"
LICENSE = "LICENSE"
TEST_CASES = "tests/test_cases.json"

MAX_PATH_BYTES = 200
MAX_MANIFEST_BYTES = 1 << 20
MAX_SIGNATURE_BYTES = 4 << 10
MAX_ADAPTER_CONFIG_BYTES = 1 << 20
MAX_GRAMMAR_BYTES = 1 << 20
MAX_TEXT_BYTES = 16 << 20
MAX_WEIGHT_BYTES = 2 << 30

_TEXTS = frozenset({ADAPTER_CONFIG, GRAMMAR, README, LICENSE, TEST_CASES})
_SOFT_PROMPT = re.compile(r"soft_prompts/[A-Za-z0-9_-][A-Za-z0-9._-]*\.safetensors")
_NOT_IN_A_MEMBER = re.compile(r"[^A-Za-z0-9._-]+")
_SAFE_PATH = re.compile(r"[A-Za-z0-9._/-]+")
_CODE_CARRIERS = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")


def unsafe_path(path: str) -> str | None:
    """Why ``path`` is no name for a member; None if it is one.

    Safe names are relative, of `A-Za-z0-9._/-`, at most 200 bytes, without empty, `.` or `..`
    parts: they mean the same on every file system and cannot forge a line of a signed message.
    """
    if not _SAFE_PATH.fullmatch(path):
        return "has characters other than A-Za-z0-9._/-"
    if len(path) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    if path.startswith("/"):
        return "is absolute"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "has an empty, . or .. part"
    return None


def unexpected_member(path: str) -> str | None:
    """Why a package has no such member; None if it may have one."""
    if path in (MANIFEST, SIGNATURE) or path in _TEXTS or is_weights(path):
        return None
    if path.lower().endswith(_CODE_CARRIERS):
        return "can carry code; weights are safetensors"
    return "is not a member of the package format"


def is_weights(path: str) -> bool:
    return path == ADAPTER_WEIGHTS or _SOFT_PROMPT.fullmatch(path) is not None


def soft_prompt_member(name: str) -> str:
    """The member that holds the soft prompt of that name, e.g. `soft_prompts/tone.safetensors`.

    Characters that no member's name has become hyphens, so two names may share a member.
    """
    return f"{SOFT_PROMPT_FOLDER}{_NOT_IN_A_MEMBER.sub('-', name).lstrip('.') or '-'}.safetensors"


def max_bytes(path: str) -> int:
    """The largest allowed size of a member."""
    if path == MANIFEST:
        return MAX_MANIFEST_BYTES
    if path == SIGNATURE:
        return MAX_SIGNATURE_BYTES
    if path == ADAPTER_CONFIG:
        return MAX_ADAPTER_CONFIG_BYTES
    if path == GRAMMAR:
        return MAX_GRAMMAR_BYTES
    return MAX_WEIGHT_BYTES if is_weights(path) else MAX_TEXT_BYTES
