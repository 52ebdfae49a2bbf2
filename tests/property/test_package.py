"""Archives and signed messages, for any members."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hive_expert.errors import HiveError
from hive_expert.package import layout
from hive_expert.package.archive import Entry, read_archive, write_archive
from hive_expert.package.statement import signed_message
from hive_expert.package.tensors import parse_header

MEMBERS = st.dictionaries(
    st.sampled_from(
        [
            layout.MANIFEST,
            layout.SIGNATURE,
            layout.ADAPTER_CONFIG,
            layout.ADAPTER_WEIGHTS,
            layout.GRAMMAR,
            layout.README,
            layout.LICENSE,
            layout.TEST_CASES,
            "soft_prompts/a.safetensors",
            "soft_prompts/" + "b" * 80 + ".safetensors",
        ]
    ),
    st.binary(max_size=3000),
)
SHA256 = st.text("0123456789abcdef", min_size=64, max_size=64)
PATHS = st.from_regex(r"\A[A-Za-z0-9._-]{1,10}(/[A-Za-z0-9._-]{1,10}){0,2}\Z").filter(
    lambda path: layout.unsafe_path(path) is None
)
HASHES = st.dictionaries(PATHS, SHA256, max_size=6)


def packed(members: dict[str, bytes], mtime: int = 0) -> bytes:
    out = io.BytesIO()
    write_archive([Entry(path, data) for path, data in members.items()], out, mtime=mtime)
    return out.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    members = read_archive(io.BytesIO(data), len(data), "p")
    return {member.path: b"".join(member.chunks) for member in members}


@given(MEMBERS, st.integers(0, 2**33 - 1))
def test_an_archive_is_read_as_it_was_written(members: dict[str, bytes], mtime: int) -> None:
    assert unpacked(packed(members, mtime)) == members


@given(MEMBERS, st.randoms(use_true_random=False))
def test_an_archive_does_not_depend_on_the_order_of_members(
    members: dict[str, bytes], random: Any
) -> None:
    shuffled = list(members.items())
    random.shuffle(shuffled)
    assert packed(dict(shuffled)) == packed(members)


@given(MEMBERS, st.data())
def test_a_damaged_archive_is_refused_or_has_the_same_members(
    members: dict[str, bytes], data: st.DataObject
) -> None:
    damaged = bytearray(packed(members))
    for position in data.draw(st.sets(st.integers(0, len(damaged) - 1), min_size=1, max_size=4)):
        damaged[position] ^= data.draw(st.integers(1, 255))
    try:
        found = unpacked(bytes(damaged))
    except HiveError:
        return
    assert found == members


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_in_our_own_words(data: bytes) -> None:
    try:
        unpacked(data)
    except HiveError:
        return
    raise AssertionError("random bytes were read as an archive")


@given(HASHES, st.randoms(use_true_random=False))
def test_the_signed_message_depends_on_members_and_hashes_alone(
    hashes: dict[str, str], random: Any
) -> None:
    shuffled = list(hashes.items())
    random.shuffle(shuffled)
    assert signed_message(dict(shuffled)) == signed_message(hashes)


@given(HASHES, HASHES)
def test_different_members_give_different_messages(
    one: dict[str, str], other: dict[str, str]
) -> None:
    def signed(hashes: dict[str, str]) -> dict[str, str]:
        return {path: sha for path, sha in hashes.items() if path != layout.SIGNATURE}

    assert (signed_message(one) == signed_message(other)) == (signed(one) == signed(other))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["BF16", "F32", "I8"]) | JSON,
        "shape": st.lists(st.integers(-1, 9), max_size=3) | JSON,
        "data_offsets": st.lists(st.integers(-1, 40), min_size=2, max_size=2) | JSON,
    }
)


@given(JSON | st.dictionaries(st.text(max_size=5), ENTRY | JSON), st.integers(0, 100))
def test_any_header_gives_tensors_that_fill_the_file_or_reasons(header: Any, size: int) -> None:
    try:
        tensors = parse_header(header, size, "w")
    except HiveError as error:
        assert error.problems
        return
    assert tensors[0].begin == 0
    assert tensors[-1].end == size
    assert all(a.end == b.begin for a, b in pairwise(tensors))


@given(st.text(min_size=1, max_size=250))
def test_a_soft_prompt_of_any_name_has_a_member_unless_it_is_too_long(name: str) -> None:
    member = layout.soft_prompt_member(name)
    assert layout.is_weights(member)
    assert (layout.unsafe_path(member) is None) == (len(member) <= layout.MAX_PATH_BYTES)
