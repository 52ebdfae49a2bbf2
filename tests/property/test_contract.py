"""The laws of the decoding contract, for any request, flags and manifest."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hive_expert.decoding.contract import Contract
from hive_expert.decoding.effective import Effective, Explicit, resolve
from hive_expert.decoding.sampling_fields import FIELDS, Field


def _value(field: Field) -> st.SearchStrategy[int | float]:
    if field.whole:
        return st.integers(int(field.low), int(field.high))
    return st.floats(field.low, field.high, exclude_min=field.above_low)


SAMPLING = st.fixed_dictionaries({f.name: st.none() | _value(f) for f in FIELDS})
STOPS = st.lists(st.text(min_size=1, max_size=8), max_size=5).map(tuple)
STRUCTURES = st.sampled_from([{}, {"grammar": 'root ::= "a"'}, {"json_schema": "{}"}])
CONTRACTS = st.builds(
    lambda values, stop, structure: Contract(**values, stop=stop, **structure),
    SAMPLING,
    STOPS,
    STRUCTURES,
)
REQUESTS = st.builds(
    Explicit,
    SAMPLING,
    STOPS,
    st.none() | st.sampled_from(["tools", "response_format"]),
    st.booleans(),
)


def _by_field(effective: Effective) -> dict[str, tuple[Any, str]]:
    assert len({s.field for s in effective.values}) == len(effective.values)
    return {s.field: (s.value, s.source) for s in effective.values}


@given(REQUESTS, SAMPLING, CONTRACTS)
def test_request_beats_flag_beats_manifest(
    explicit: Explicit, flags: dict[str, Any], contract: Contract
) -> None:
    got = _by_field(resolve(explicit, flags, contract))
    for field in FIELDS:
        sent, flag, wanted = (
            explicit.values[field.name],
            flags[field.name],
            contract.value(field.name),
        )
        if sent is not None:
            assert got[field.name] == (sent, "request")
        elif flag is not None:
            assert got[field.name] == (flag, "flag")
        elif wanted is not None:
            assert got[field.name] == (wanted, "manifest")
        else:
            assert field.name not in got


@given(REQUESTS, SAMPLING, CONTRACTS)
def test_all_stops_are_kept_the_request_s_first(
    explicit: Explicit, flags: dict[str, Any], contract: Contract
) -> None:
    stop = resolve(explicit, flags, contract).stop
    # A call of a tool is no answer in the expert's own form.
    kept = () if explicit.own_structure == "tools" else contract.stop
    assert set(stop) == {*explicit.stop, *kept}
    assert len(set(stop)) == len(stop)
    first = tuple(dict.fromkeys(explicit.stop))
    assert stop[: len(first)] == first


@given(REQUESTS, SAMPLING, CONTRACTS)
def test_at_most_one_structure_and_only_where_the_request_has_no_say(
    explicit: Explicit, flags: dict[str, Any], contract: Contract
) -> None:
    effective = resolve(explicit, flags, contract)
    structures = (effective.grammar, effective.json_schema)
    if explicit.own_structure or explicit.grammar_off:
        assert structures == (None, None)
    else:
        assert structures == (contract.grammar, contract.json_schema)
    assert (effective.grammar_source == "manifest") == (structures != (None, None))


@given(REQUESTS, SAMPLING, CONTRACTS)
def test_ignoring_the_manifest_is_an_empty_contract(
    explicit: Explicit, flags: dict[str, Any], contract: Contract
) -> None:
    ignored = resolve(explicit, flags, contract, ignore_manifest=True)
    assert ignored == resolve(explicit, flags, Contract.EMPTY)


@given(REQUESTS, SAMPLING, CONTRACTS, st.booleans())
def test_equal_arguments_give_equal_results(
    explicit: Explicit, flags: dict[str, Any], contract: Contract, ignore: bool
) -> None:
    once = resolve(explicit, flags, contract, ignore_manifest=ignore)
    again = resolve(explicit, dict(reversed(flags.items())), contract, ignore_manifest=ignore)
    assert once == again


ANYTHING = st.text() | st.integers() | st.floats() | st.none()


@given(
    st.builds(
        Explicit,
        st.fixed_dictionaries({f.name: ANYTHING for f in FIELDS}),
        st.lists(st.text()).map(tuple),
        st.none() | st.text(),
        st.booleans(),
    ),
    st.fixed_dictionaries({f.name: ANYTHING for f in FIELDS}),
    CONTRACTS,
)
def test_a_description_is_one_line_of_printable_ascii(
    explicit: Explicit, flags: dict[str, Any], contract: Contract
) -> None:
    line = resolve(explicit, flags, contract).describe()
    assert all(" " <= character <= "~" for character in line)
    line.encode("latin-1")
