from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from hive_expert.cli.train import main
from hive_expert.errors import DatasetError
from hive_expert.training.datasets import FieldMapping, read_examples
from hive_expert.training.near_duplicates import near_duplicates, shingles, similarity
from hive_expert.training.prepare import Prepared, Recipe, prepare_rows, read_raw
from hive_expert.training.row_splits import SPLITS

Rows = list[tuple[str, Mapping[str, Any]]]


NOUNS = (
    "zebra",
    "yacht",
    "violin",
    "tundra",
    "sphinx",
    "quartz",
    "orchid",
    "mosaic",
    "lagoon",
    "jaguar",
)


def rows(count: int, **extra: Any) -> Rows:
    made = []
    for n in range(count):
        noun, other = NOUNS[n % 10], NOUNS[(n // 10 + 3 * n) % 10]
        system = f"Dialect: sql\nSchema:\n{noun}(id, {other})"
        user = f"{n * 7919} {other} of every {noun} by {n}?"
        row = {
            "input": system,
            "instruction": user,
            "response": f"SELECT {other} FROM {noun} LIMIT {n};",
        }
        made.append((f"raw.jsonl:{n + 1}", row | extra))
    return made


def changed(position: int, **values: Any) -> Rows:
    made = rows(10)
    where, row = made[position]
    made[position] = (where, {k: v for k, v in (dict(row) | values).items() if v is not None})
    return made


def kinds(prepared: Prepared) -> list[tuple[str, str]]:
    return [(one.where, one.kind) for one in prepared.rejected]


def test_every_row_is_kept_or_rejected_once() -> None:
    raw = [*rows(40), *rows(3), ("x:1", {"instruction": "?"})]
    prepared = prepare_rows(raw, Recipe(language="sql"))
    kept = sum(map(len, prepared.splits.values()))
    assert kept + len(prepared.rejected) == len(raw)
    assert kept == 40


def test_groups_are_never_parted_and_shares_are_kept() -> None:
    prepared = prepare_rows(rows(200), Recipe())
    groups = [{row.group for row in prepared.splits[name]} for name in SPLITS]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    sizes = [len(prepared.splits[name]) for name in SPLITS]
    assert sizes[0] in range(130, 180)
    assert min(sizes) > 0


def test_a_column_can_name_the_group() -> None:
    raw: Rows = [
        (where, dict(row) | {"group": "abcd"[n % 4]}) for n, (where, row) in enumerate(rows(40))
    ]
    prepared = prepare_rows(raw, Recipe())
    assert sorted(map(len, prepared.splits.values())) == [10, 10, 20]
    assert not prepared.warnings


@pytest.mark.parametrize("groups", [3, 4, 7])
@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (0.5, 0.5, 0), (1, 0, 0)])
def test_no_split_is_empty_while_there_are_groups_for_all(
    groups: int, shares: tuple[float, float, float]
) -> None:
    raw: Rows = [
        (where, dict(row) | {"group": n % groups}) for n, (where, row) in enumerate(rows(42))
    ]
    prepared = prepare_rows(raw, Recipe(shares=shares))
    found = [{row.group for row in prepared.splits[name]} for name in SPLITS]
    assert [bool(split) for split in found] == [share > 0 for share in shares]
    assert sum(map(len, found)) == groups, "none is parted"
    assert not prepared.warnings


@pytest.mark.parametrize("groups", [1, 2])
def test_too_few_groups_are_parted_and_it_says_so(groups: int) -> None:
    raw: Rows = [
        (where, dict(row) | {"group": n % groups}) for n, (where, row) in enumerate(rows(40))
    ]
    prepared = prepare_rows(raw, Recipe())
    assert [len(prepared.splits[name]) for name in SPLITS] == [32, 4, 4]
    (warning,) = prepared.warnings
    assert warning.startswith(f"only {groups} group")


def test_too_few_rows_leave_a_split_empty_and_it_says_so() -> None:
    prepared = prepare_rows(rows(2), Recipe())
    assert [len(prepared.splits[name]) for name in SPLITS] == [1, 1, 0]
    assert "no row for test: test.jsonl is empty" in prepared.warnings


def test_a_number_can_name_the_group() -> None:
    raw: Rows = [(where, dict(row) | {"group": n % 3}) for n, (where, row) in enumerate(rows(30))]
    splits = prepare_rows(raw, Recipe()).splits.values()
    assert {row.group for split in splits for row in split} == {"0", "1", "2"}


def test_the_two_ways_to_ask_about_a_schema_are_one_group() -> None:
    raw = rows(60)
    for where, row in rows(60):
        schema = row["input"].partition("Schema:\n")[2]
        text = f"{row['instruction']} Schema: {schema}"
        raw.append((f"{where}-one", dict(row) | {"input": "", "instruction": text}))
    splits = prepare_rows(raw, Recipe()).splits
    groups = [{row.group for row in splits[name]} for name in SPLITS]
    apart = {row.group for split in splits.values() for row in split if row.input}
    assert set().union(*groups) == apart
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]


def test_the_seed_decides_and_nothing_else() -> None:
    assert prepare_rows(rows(50), Recipe()) == prepare_rows(rows(50), Recipe())
    assert prepare_rows(rows(50), Recipe()) != prepare_rows(rows(50), Recipe(seed=8))


def test_columns_are_mapped() -> None:
    raw: Rows = [("a:1", {"q": "how?", "a": "so"})]
    prepared = prepare_rows(raw, Recipe(mapping=FieldMapping("q", None, "a")))
    (row,) = [row for split in prepared.splits.values() for row in split]
    assert (row.input, row.instruction, row.response) == ("", "how?", "so")


@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [
        ({"response": None}, "fields", "no field 'response'"),
        ({"instruction": 5}, "fields", "'instruction' is int"),
        ({"instruction": "  "}, "fields", "'instruction' is empty"),
        ({"response": "SELECT FROM WHERE"}, "answer", "not SQL"),
        ({"response": "SELECT 1; SELECT 2;"}, "answer", "2 statements"),
    ],
)
def test_a_bad_row_is_named(values: dict[str, Any], kind: str, reason: str) -> None:
    prepared = prepare_rows(changed(4, **values), Recipe(language="sql"))
    (one,) = prepared.rejected
    assert (one.where, one.kind) == ("raw.jsonl:5", kind)
    assert reason in one.reason


def test_repetitions_and_contradictions_are_told_apart() -> None:
    made = rows(3)
    _, first = made[0]
    made += [
        ("b:1", dict(first) | {"instruction": f" {first['instruction'].upper()}"}),
        ("b:2", dict(first) | {"response": "SELECT 2;"}),
        ("b:3", dict(first) | {"instruction": f"{first['instruction']}?"}),
    ]
    prepared = prepare_rows(made, Recipe(language="sql", near=0.8))
    expected = [("b:1", "duplicate"), ("b:2", "contradiction"), ("b:3", "near duplicate")]
    assert kinds(prepared) == expected
    assert "raw.jsonl:1" in prepared.rejected[0].reason


@pytest.mark.parametrize(
    ("language", "answer", "repaired"),
    [
        ("sql", "```sql\nSELECT 1\n```", "SELECT 1;"),
        ("json", '```json\n{"a": 1}\n```', '{"a":1}'),
        ("cypher", "MATCH (n) RETURN n;", "MATCH (n) RETURN n"),
        ("typescript", "```ts\nconst a = 1;\n```", "const a = 1;"),
        ("none", " as it is ", "as it is"),
    ],
)
def test_answers_are_repaired(language: Any, answer: str, repaired: str) -> None:
    raw: Rows = [("a:1", {"input": "", "instruction": "?", "response": answer})]
    prepared = prepare_rows(raw, Recipe(language=language))
    assert [r.response for split in prepared.splits.values() for r in split] == [repaired]
    assert prepared.repaired == 1


def test_json_answers_are_held_to_the_schema_in_the_prompt() -> None:
    schema = '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}'
    system = f"Dialect: json\nSchema:\n{schema}"
    raw: Rows = [
        ("a:1", {"input": system, "instruction": "one", "response": '{"a": 1}'}),
        ("a:2", {"input": system, "instruction": "two", "response": '{"b": 1}'}),
    ]
    assert kinds(prepare_rows(raw, Recipe(language="json"))) == [("a:2", "answer")]


def test_thoughts_stand_before_their_share_of_answers() -> None:
    prepared = prepare_rows(rows(40, why="Because."), Recipe(reasoning="why"))
    answers = [row.response for split in prepared.splits.values() for row in split]
    assert sum(a.startswith("<think>\nBecause.\n</think>\n\nSELECT") for a in answers) == 30
    assert sum(a.startswith("SELECT") for a in answers) == 10


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(DatasetError, match="no row is left"):
        prepare_rows([("a:1", {"x": "y"})], Recipe())
    with pytest.raises(DatasetError, match="no rows"):
        prepare_rows([], Recipe())


def test_near_duplicates_are_found_as_by_comparing_all() -> None:
    texts = [f"{noun} and {other} number {n}" for n, noun in enumerate(NOUNS) for other in NOUNS]
    texts += [f"{text}!" for text in texts[::7]]
    found = near_duplicates(texts, 0.85)
    cut = [shingles(text) for text in texts]
    kept: list[int] = []
    slow: dict[int, int] = {}
    for at, own in enumerate(cut):
        twin = next((k for k in kept if similarity(own, cut[k]) >= 0.85), None)
        if twin is None:
            kept.append(at)
        else:
            slow[at] = twin
    assert set(found) == set(slow)
    assert len(found) >= 15


# files and the command


def write(path: Path, made: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for _, row in made), encoding="utf-8")
    return path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["prepare", *(str(a) for a in arguments)])


def test_all_formats_give_the_same_rows(tmp_path: Path) -> None:
    made = [dict(row) for _, row in rows(5)]
    write(tmp_path / "a.jsonl", rows(5))
    (tmp_path / "a.json").write_text(json.dumps(made))
    lines = ["input,instruction,response", *('"' + '","'.join(r.values()) + '"' for r in made)]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(made), tmp_path / "a.parquet")
    for ending in ("jsonl", "json", "csv", "parquet"):
        read, problems = read_raw([tmp_path / f"a.{ending}"])
        assert [dict(row) for _, row in read] == made, ending
        assert not problems


def test_what_is_written_is_what_training_reads(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw.jsonl", [*rows(60), *rows(2)])
    result = invoke(
        raw, "--output", tmp_path / "out", "--system", "input", "--language", "sql", "--json"
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["read"], report["kept"], report["rejected"]) == (62, 60, {"duplicate": 2})
    assert report["splits"]["train"]["rows"] == len(
        read_examples(tmp_path / "out" / "train.jsonl", "jsonl", FieldMapping())
    )
    rejected = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["where"] for line in rejected] == [f"{raw}:61", f"{raw}:62"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"instruction": "a", "response"\n', "raw.jsonl:2: broken JSON"),
        (b'["a"]\n', "raw.jsonl:2: not a JSON object"),
        (b'{"instruction": "\xff", "response": "b"}\n', "raw.jsonl:2: not UTF-8"),
        (b'{"instruction": "' + b"x" * (10 << 20) + b'"}\n', "raw.jsonl:2: line of 104857"),
        (b'{"instruction": "a"}\n', "raw.jsonl:2: no field 'response'"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_written(tmp_path: Path, line: bytes, said: str) -> None:
    raw = tmp_path / "raw.jsonl"
    good = b'{"instruction": "q", "response": "a"}\n'
    raw.write_bytes(good + line + b'{"instruction": "r", "response": "b"}\n')
    result = invoke(raw, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert said in result.stderr.replace("\n", "")
    assert not (tmp_path / "out").exists()
    skipped = invoke(raw, "--output", tmp_path / "out", "--skip-bad", "--json")
    assert skipped.exit_code == 0, skipped.output
    assert json.loads(skipped.stdout)["kept"] == 2
    (left_out,) = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(left_out)["where"] == f"{raw}:2"


def test_all_bad_lines_are_told_at_once(tmp_path: Path) -> None:
    raw = tmp_path / "raw.jsonl"
    good = b'{"instruction": "q", "response": "a"}\n'
    raw.write_bytes(good + b'{"instruction": "a\n' + b'{"instruction": "a"}\n')
    result = invoke(raw, "--output", tmp_path / "out")
    told = result.stderr.replace("\n", "")
    assert "raw.jsonl:2: broken JSON: Unterminated string starting at column 17" in told
    assert "raw.jsonl:3: no field 'response'" in told


def test_system_messages_are_kept_where_rows_have_them(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw.jsonl", rows(20))
    result = invoke(raw, "--output", tmp_path / "out", "--language", "sql")
    assert result.exit_code == 0, result.output
    kept = read_examples(tmp_path / "out" / "train.jsonl", "jsonl", FieldMapping())
    assert all(example.system for example in kept)


def test_one_system_message_gives_splits_that_training_reads(tmp_path: Path) -> None:
    made: Rows = [(where, dict(row) | {"input": "Be brief."}) for where, row in rows(40)]
    raw = write(tmp_path / "raw.jsonl", made)
    result = invoke(raw, "--output", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    for name in SPLITS:
        assert read_examples(tmp_path / "out" / f"{name}.jsonl", "jsonl", FieldMapping())
    assert "only 1 group of rows" in " ".join(result.stderr.split())
    written = json.loads((tmp_path / "out" / "prepare_report.json").read_text())
    assert written["warnings"] == json.loads(result.stdout)["warnings"] != []


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    raw = tmp_path / "raw.jsonl"
    raw.write_text("\n")
    result = invoke(raw, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "raw.jsonl: no rows" in result.stderr


def test_the_text_is_the_conversation_in_the_template(tmp_path: Path) -> None:
    from tests.training.conftest import manifest_document

    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(manifest_document()))
    raw = write(tmp_path / "raw.jsonl", rows(10))
    result = invoke(
        raw, "--output", tmp_path / "out", "--manifest", manifest, "--system", "input", "--text"
    )
    assert result.exit_code == 0, result.output
    first = json.loads((tmp_path / "out" / "train.jsonl").read_text().splitlines()[0])
    assert first["text"] == (
        f"<|im_start|>system\n{first['input']}<|im_end|>\n"
        f"<|im_start|>user\n{first['instruction']}<|im_end|>\n"
        f"<|im_start|>assistant\n{first['response']}<|im_end|>\n"
    )


@pytest.mark.parametrize("split", ["80/20", "a/b/c", "-1/1/1", "0/0/0"])
def test_a_split_that_is_none_is_wrong_usage(tmp_path: Path, split: str) -> None:
    raw = write(tmp_path / "raw.jsonl", rows(4))
    assert invoke(raw, "--output", tmp_path / "out", "--split", split).exit_code == 2
