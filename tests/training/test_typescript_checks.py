"""TypeScript type-checked and run: right and wrong answers, and hostile ones."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hive_expert.errors import TrainingError
from hive_expert.training import typescript_checks
from hive_expert.training.cases import TestCase
from hive_expert.training.scoring import score_case
from hive_expert.training.typescript_checks import TYPESCRIPT, Checker, Program, Verdict


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checker]:
    folder = tmp_path_factory.mktemp("node")
    install = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder)]
    subprocess.run([*install, TYPESCRIPT], check=True, timeout=300)
    before = os.environ.get("NODE_PATH")
    os.environ["NODE_PATH"] = str(folder / "node_modules")
    typescript_checks.find_tools.cache_clear()
    made = Checker()
    yield made
    made.close()
    os.environ.pop("NODE_PATH")
    if before is not None:
        os.environ["NODE_PATH"] = before


def check(checker: Checker, code: str, tests: str = "") -> Verdict:
    (verdict,) = checker.check([Program(code, tests)])
    return verdict


def test_without_node_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    typescript_checks.find_tools.cache_clear()
    with pytest.raises(TrainingError) as raised:
        typescript_checks.find_tools()
    typescript_checks.find_tools.cache_clear()
    assert "install Node" in str(raised.value)


def test_checks_are_counted() -> None:
    tests = "expectEqual(f(1), 2); expectThrows(() => f(0));\nexpectResolves(g(), 1);"
    assert Program("", tests).checks == 3


@pytest.mark.node
@pytest.mark.parametrize(
    ("code", "tests"),
    [
        ("function f(x: number): number { return x + 1; }", "expectEqual(f(1), 2);"),
        ("export const f = (): Map<string, number> => new Map();", "expectEqual(f(), new Map());"),
        ("async function f(): Promise<number> { return 1; }", "expectResolves(f(), 1);"),
        ("function f(): never { throw new Error(); }", "expectThrows(() => f());"),
        ("type A = { a?: number };", "const same: Equal<A, { a?: number }> = true;"),
        ("function f(b: Book): string { return b.title; }",
         'interface Book { title: string }\nexpectEqual(f({ title: "x" }), "x");'),
    ],
)  # fmt: skip
def test_a_right_answer_passes(checker: Checker, code: str, tests: str) -> None:
    assert check(checker, code, tests) == Verdict()


@pytest.mark.node
@pytest.mark.parametrize(
    ("code", "tests", "reason"),
    [
        ("function f(x: number): string { return x; }", "", "type error"),
        ("function f(x) { return x; }", "", "implicitly"),
        ("type A = { a: number };", "const s: Equal<A, { a?: number }> = true;", "type error"),
        ("function f(): number { return 1; }", "expectEqual(f(), 2);", "1 is not 2"),
        ("function f(): number { return NaN; }", "expectEqual(f(), 0);", "test failed"),
        ("function f(): unknown { return [1]; }", 'expectEqual(f(), { "0": 1 });', "test failed"),
        ("const expectEqual = () => {};", "", ""),
        ("if (true) throw new Error();", "expectEqual(1, 1);", "threw"),
        ("import fs from 'fs'; fs;", "", "Cannot find module"),
        ("function expectEqual(a: unknown, b: unknown) {}", "expectEqual(1, 2);", "0 of 1 checks"),
    ],
)
def test_a_wrong_answer_does_not(checker: Checker, code: str, tests: str, reason: str) -> None:
    assert reason in check(checker, code, tests).reason
    assert bool(check(checker, code, tests).reason) == bool(reason)


@pytest.mark.node
@pytest.mark.parametrize(
    "code",
    [
        "while (true) {}",
        "const a: number[] = []; while (true) a.push(...new Array(100000).fill(1));",
        "const a: unknown[] = []; for (;;) a.push(new ArrayBuffer(100_000_000));",
        "(0, eval)('1');",
        "const f: any = expectEqual; f.constructor('return process')();",
        "const g: any = globalThis; g.process.exit(0);",
        "const g: any = globalThis; g.require('fs');",
        "async function f(): Promise<void> { await f(); } f(); while (true) {}",
    ],
)
def test_a_hostile_answer_ends_and_harms_no_other(checker: Checker, code: str) -> None:
    assert check(checker, code).reason
    assert check(checker, "const a = 1;") == Verdict()


@pytest.mark.node
def test_the_compiler_is_renewed_before_its_time_is_up(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(typescript_checks, "RENEW_AFTER", 2)
    checker.close()
    pids = []
    for _ in range(5):
        assert check(checker, "const a = 1;") == Verdict()
        assert checker._compiler is not None
        pids.append(checker._compiler.pid)
    assert len(set(pids)) == 3
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]


@pytest.mark.node
def test_too_long_an_answer_is_not_looked_at(checker: Checker) -> None:
    verdicts = checker.check(
        [Program("// " + "x" * 70_000, ""), Program("const a: string = 1;", "")]
    )
    assert ["characters" in v.reason for v in verdicts] == [True, False]
    assert "type error" in verdicts[1].reason


@pytest.mark.node
def test_types_without_end_are_refused(checker: Checker) -> None:
    endless = "type A<T extends any[]> = T['length'] extends 5000 ? T : A<[...T, 1]>;"
    assert "deep" in check(checker, endless + " type B = A<[]>;").reason


@pytest.mark.node
@pytest.mark.parametrize(
    "attempt",
    [
        "require('fs').readFileSync('/etc/passwd')",
        "require('fs').writeFileSync('/tmp/written-by-an-answer', 'x')",
        "require('child_process').execSync('id')",
        "new (require('worker_threads').Worker)('1', { eval: true })",
        "process.kill(process.ppid, 0)",
    ],
)
def test_outside_of_its_context_little_can_be_done(
    checker: Checker, tmp_path: Path, attempt: str
) -> None:
    script = tmp_path / "attempt.cjs"
    script.write_text(attempt)
    done = subprocess.run(
        checker._confined(30, 64, script, script),
        capture_output=True,
        text=True,
        env={},
        timeout=120,
    )
    assert done.returncode != 0
    assert "ERR_ACCESS_DENIED" in done.stderr or "EPERM" in done.stderr


@pytest.mark.node
def test_the_network_cannot_be_reached(checker: Checker, tmp_path: Path) -> None:
    script = tmp_path / "attempt.cjs"
    script.write_text(
        "require('net').connect(9, '127.0.0.1').on('error', (e) => { console.log(e.code); });"
    )
    done = subprocess.run(
        checker._confined(30, 64, script, script),
        capture_output=True,
        text=True,
        env={},
        timeout=120,
    )
    assert done.stdout.strip() == "EPERM"


@pytest.mark.node
def test_a_score_tells_parsing_from_being_right(checker: Checker) -> None:
    message = {"role": "user", "content": "function f(): number"}
    case = TestCase("c", "k", (message,), "", tests="expectEqual(f(), 1);")
    right = "function f(): number { return 1; }"
    assert score_case(case, right).correct
    fenced = score_case(case, f"```ts\n{right}\n```")
    assert (fenced.correct, fenced.clean) == (True, False)
    wrong = score_case(case, "function f(): number { return 2; }")
    assert (wrong.correct, wrong.valid) == (False, True)
    broken = score_case(case, "function f(: number {")
    assert (broken.correct, broken.valid) == (False, False)
