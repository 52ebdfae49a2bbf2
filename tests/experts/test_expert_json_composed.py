"""Domains composed from a bank of facts."""

from __future__ import annotations

import re
from random import Random

import pytest
from text_to_json.composed import Bank, compose_domain, load_bank
from text_to_json.composed_facts import make_fact
from text_to_json.domains import OPTIONAL, SLOT, slots

from tests.experts.json_rows import DATA, domains

SEEDS = [str(number) for number in range(300)]


@pytest.fixture(scope="module")
def bank() -> Bank:
    return load_bank(DATA / "attributes.toml")


def test_each_keeps_the_law_of_domains(bank: Bank) -> None:
    for seed in SEEDS:
        domain = compose_domain(bank, seed)
        templates = (*domain.texts, *domain.leads, *domain.parts)
        mentioned = frozenset().union(*(slots(template) for template in templates))
        assert mentioned == domain.fields.keys()
        assert domain.core
        for template in templates:
            rest = SLOT.sub("", OPTIONAL.sub(r"\1", template))
            assert not re.search(r"[][{}*^]|\bX\b", rest), template


def test_no_two_fields_may_have_one_name(bank: Bank) -> None:
    for seed in SEEDS:
        names = [name for f in compose_domain(bank, seed).fields.values() for name in f.names]
        assert len(names) == len(set(names))


def test_values_of_one_kind_stand_beside_each_other(bank: Bank) -> None:
    """Only the name tells them apart; a domain with one date would teach to take any date."""
    kinds = [[f.kind for f in compose_domain(bank, seed).fields.values()] for seed in SEEDS]
    for kind in ("person", "date", "integer", "boolean", "code"):
        assert sum(found.count(kind) > 1 for found in kinds) > len(SEEDS) / 25, kind


def test_equal_seeds_give_equal_domains_and_others_others(bank: Bank) -> None:
    assert compose_domain(bank, "1") == compose_domain(bank, "1")
    fields = {tuple(compose_domain(bank, seed).fields) for seed in SEEDS}
    assert len(fields) == len(SEEDS)


def test_every_line_of_the_bank_makes_a_fact(bank: Bank) -> None:
    lines = {sort: found for sort, found in bank.lines.items() if sort not in ("things", "fillers")}
    facts = [make_fact(Random(0), sort, line, "boat") for sort in lines for line in lines[sort]]
    assert len(facts) > 300
    for fact in facts:
        assert re.fullmatch(r"[a-z_]+", fact.field.key)
        assert all(slots(sentence) == {fact.field.key} for sentence in fact.sentences)


def test_the_bank_adds_no_name_of_the_held_out_domains(bank: Bank) -> None:
    """Common words, such as a price, are in the written training domains too."""

    def names(split: str) -> set[str]:
        return {n for d in domains()[split] for f in d.fields.values() for n in f.names}

    own = {
        name
        for sort, lines in bank.lines.items()
        if sort not in ("things", "fillers")
        for line in lines
        for name in make_fact(Random(0), sort, line, "boat").field.names
    }
    assert own & (names("validation") | names("test")) <= names("train")
