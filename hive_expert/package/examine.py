"""Whether a package is sound in itself: hashes, signature, manifest and weights fit together.

Whether to believe its signer is `trust`'s question. SPEC section 4.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hive_expert.decoding.contract import contract_of
from hive_expert.errors import (
    ArchiveError,
    IntegrityError,
    Problem,
    SignatureError,
    TensorError,
)
from hive_expert.manifest.model import Integrity, Manifest
from hive_expert.manifest.parse import parse_manifest
from hive_expert.manifest.slug import model_slug
from hive_expert.package.adapter_config import check_adapter_config
from hive_expert.package.layout import (
    ADAPTER_CONFIG,
    ADAPTER_FOLDER,
    ADAPTER_WEIGHTS,
    GRAMMAR,
    MANIFEST,
    SIGNATURE,
    SOFT_PROMPT_FOLDER,
    TEST_CASES,
)
from hive_expert.package.statement import (
    Signature,
    package_digest,
    parse_signature,
    signed_message,
)
from hive_expert.package.tensors import Tensor, check_adapter, check_soft_prompt
from hive_expert.package.trust import PackageFacts
from hive_expert.package.unpack import Unpacked


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """A member as it was found."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Examined:
    """A package that is sound in itself."""

    manifest: Manifest
    facts: PackageFacts
    members: tuple[MemberFacts, ...]
    signature: Signature | None
    grammar: bytes | None = None
    """What its grammar says; :func:`require_contract` looks whether that means anything."""
    rank: int = 0
    """The largest of its layers; 0 where no layer has one, or the weights have not been read."""


def examine(unpacked: Unpacked, where: str) -> Examined:
    """Check everything that can be checked without knowing whom to trust.

    Raises ManifestError or a PackageError whose kind says what is broken.
    """
    manifest = _manifest(unpacked, where)
    examined = _examine(manifest, unpacked, where)
    return replace(examined, rank=_check_weights(manifest, unpacked, where))


def require_contract(examined: Examined) -> None:
    """Build the decoding contract of a package: a server would have to.

    Whether its grammar compiles for the tokens of a base is tried when it is served. Raises
    DecodingError, as :func:`hive_expert.decoding.contract.contract_of`.
    """
    training = examined.manifest.training

    def read(member: str) -> bytes:
        if examined.grammar is None or member != GRAMMAR:
            raise FileNotFoundError(errno.ENOENT, "there is no such member")
        return examined.grammar

    contract_of(training.decoding if training else None, read)


def examine_declared(seen: Unpacked, where: str) -> Examined:
    """Check what can be checked without reading the weights, whose hashes ``seen`` lacks.

    They are taken from the manifest, so that the signature is checked over what it declares.
    Whether the weights are that is not known yet. Raises as :func:`examine`.
    """
    manifest = _manifest(seen, where)
    declared = manifest.integrity.files if manifest.integrity else {}
    unread = {path: declared.get(path, "") for path in seen.sizes.keys() - seen.hashes}
    complete = replace(seen, hashes={**seen.hashes, **unread})
    return _examine(manifest, complete, where)


def _examine(manifest: Manifest, unpacked: Unpacked, where: str) -> Examined:
    integrity = _check_integrity(manifest, unpacked, where)
    signature = _check_signature(unpacked, integrity, where)
    _check_members(manifest, unpacked, where)
    facts = PackageFacts(
        name=manifest.name,
        version=manifest.version,
        model=model_slug(manifest.base_models[0].name),
        digest=package_digest(unpacked.hashes),
        key_id=signature.key_id if signature else None,
        publisher=integrity.publisher,
        created_at=integrity.created_at,
    )
    members = tuple(
        MemberFacts(path, unpacked.sizes[path], sha256) for path, sha256 in unpacked.hashes.items()
    )
    return Examined(manifest, facts, members, signature, unpacked.documents.get(GRAMMAR))


def _manifest(unpacked: Unpacked, where: str) -> Manifest:
    if MANIFEST not in unpacked.hashes:
        raise ArchiveError(Problem(where, f"has no {MANIFEST}"))
    return parse_manifest(unpacked.documents[MANIFEST], f"{where}: {MANIFEST}")


def _check_integrity(manifest: Manifest, unpacked: Unpacked, where: str) -> Integrity:
    """The manifest declares exactly the members that are there, with their hashes."""
    if manifest.integrity is None:
        raise IntegrityError(
            Problem(where, "its manifest declares no members", "build it with hive-build package")
        )
    declared = manifest.integrity.files
    found = {path: h for path, h in unpacked.hashes.items() if path not in (MANIFEST, SIGNATURE)}
    problems = [
        *(Problem(f"{where}: {p}", "is declared and missing") for p in declared.keys() - found),
        *(Problem(f"{where}: {p}", "is not declared") for p in found.keys() - declared.keys()),
        *(
            Problem(f"{where}: {p}", "differs from the hash in the manifest")
            for p in found.keys() & declared.keys()
            if found[p] != declared[p]
        ),
    ]
    if problems:
        raise IntegrityError(*sorted(problems, key=str))
    return manifest.integrity


def _check_signature(unpacked: Unpacked, integrity: Integrity, where: str) -> Signature | None:
    """The signature is over these members, by the key the manifest names; or there is neither."""
    if SIGNATURE not in unpacked.hashes:
        if integrity.key_id is not None:
            raise SignatureError(
                Problem(
                    where,
                    f"its manifest names a key and {SIGNATURE} is missing",
                    "get the package again from its publisher",
                )
            )
        return None
    shown = f"{where}: {SIGNATURE}"
    signature = parse_signature(unpacked.documents[SIGNATURE], shown)
    if signature.key_id != integrity.key_id:
        raise SignatureError(Problem(shown, "is by another key than the manifest names"))
    signature.public_key.verify(signature.signature, signed_message(unpacked.hashes), shown)
    return signature


def _check_members(manifest: Manifest, unpacked: Unpacked, where: str) -> None:
    """What the manifest refers to is in the package, under the names of the format."""
    problems = tuple(_member_problems(manifest, unpacked))
    if problems:
        raise IntegrityError(
            *(Problem(f"{where}: {MANIFEST}: {path}", what) for path, what in problems)
        )


def _member_problems(manifest: Manifest, unpacked: Unpacked) -> Iterator[tuple[str, str]]:
    if len(manifest.base_models) != 1 or len(manifest.base_models[0].adapters) > 1:
        yield "base_models", "a package is for one base model, with one adapter at most"
        return
    for path, stated, member in _references(manifest):
        if stated is not None and stated != member:
            yield path, f"is {stated}; in a package it is {member}"
        elif (stated is None) != (member not in unpacked.hashes):
            yield path, f"and the member {member} are not both there"
    for adapter in manifest.base_models[0].adapters:
        if ADAPTER_WEIGHTS in unpacked.hashes and (
            adapter.sha256 != unpacked.hashes[ADAPTER_WEIGHTS]
            or adapter.size_bytes != unpacked.sizes[ADAPTER_WEIGHTS]
        ):
            yield "base_models[0].adapters[0]", "sha256 or size_bytes are not those of the weights"
    prompts = {path for path in unpacked.hashes if path.startswith(SOFT_PROMPT_FOLDER)}
    if prompts != {prompt.path for prompt in manifest.soft_prompts}:
        yield "soft_prompts", f"and the members below {SOFT_PROMPT_FOLDER} are not the same"
    decoding = manifest.training.decoding if manifest.training else None
    for field in decoding.schema_files if decoding else ():
        yield field, "is a file name; in a package it is the schema"


def _references(manifest: Manifest) -> Iterator[tuple[str, str | None, str]]:
    """Every field that names a member: its JSON path, its value, and what it must be."""
    adapters = manifest.base_models[0].adapters
    folder = adapters[0].path if adapters else None
    prefix = "base_models[0].adapters[0].path"
    for member in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        yield prefix, member if folder == ADAPTER_FOLDER else folder, member
    decoding = manifest.training.decoding if manifest.training else None
    yield "training.decoding.grammar_file", decoding.grammar_file if decoding else None, GRAMMAR
    tests = manifest.evaluation
    yield "evaluation.test_cases", tests.test_cases if tests else None, TEST_CASES


def _check_weights(manifest: Manifest, unpacked: Unpacked, where: str) -> int:
    """The largest rank of the adapter's layers."""
    rank = 0
    for adapter in manifest.base_models[0].adapters:
        config = unpacked.documents[ADAPTER_CONFIG]
        patterns = check_adapter_config(config, adapter, f"{where}: {ADAPTER_CONFIG}")
        shown = f"{where}: {ADAPTER_WEIGHTS}"
        rank = check_adapter(_tensors(unpacked, ADAPTER_WEIGHTS), adapter, shown, patterns)
    for prompt in manifest.soft_prompts:
        shown = f"{where}: {prompt.path}"
        check_soft_prompt(_tensors(unpacked, prompt.path), prompt, shown)
    return rank


def _tensors(unpacked: Unpacked, path: str) -> tuple[Tensor, ...]:
    found = unpacked.weights[path]
    if isinstance(found, TensorError):
        raise found
    return found
