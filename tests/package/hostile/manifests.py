"""Manifests that are no JSON, are JSON to some readers only, are made to be slow, or lie."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from tests.package.hostile.attack import Attack, attack_class
from tests.package.hostile.forge import document, package
from tests.package.samples import sample_members


def _text(**changes: Any) -> str:
    return json.dumps(document(sample_members(), **changes))


def _raw(label: str, manifest: bytes | str) -> Attack:
    data = manifest if isinstance(manifest, bytes) else manifest.encode()
    return Attack(label, package(manifest=data))


@attack_class("manifests that are no JSON")
def no_json() -> Iterator[Attack]:
    text = _text()
    for label, data in {
        "empty": b"",
        "a comment": f"// hello\n{text}".encode(),
        "a trailing comma": text[:-1].encode() + b",}",
        "single quotes": text.replace('"', "'").encode(),
        "two documents": (text * 2).encode(),
        "text after it": (text + "x").encode(),
        "a zero after it": (text + "\0").encode(),
        "UTF-16": text.encode("utf-16"),
        "UTF-32": text.encode("utf-32-le"),
        "a byte order mark": b"\xef\xbb\xbf" + text.encode(),
        "Latin-1": text.replace("A sample", "é").encode("latin-1"),
        "overlong UTF-8": text.encode().replace(b"A sample", b"\xc0\xaf"),
        "a surrogate in UTF-8": text.encode().replace(b"A sample", b"\xed\xa0\x80"),
        "a list": b"[]",
        "a string": b'"expert"',
        "a number": b"1",
        "null": b"null",
        "true": b"true",
        "YAML": b"name: expert-sample\n",
        "pickle": b"\x80\x04\x95",
        "a list around it": f"[{text}]".encode(),
        "NaN alone": b"NaN",
    }.items():
        yield _raw(label, data)
    for cut in range(1, len(text), 16):
        yield _raw(f"cut off at {cut}", text[:cut])


@attack_class("repeated keys in manifests")
def repeated_keys() -> Iterator[Attack]:
    """Some readers take the first, some the last."""
    text = _text()
    whole = json.loads(text)
    for key in whole:
        pair = f"{json.dumps(key)}: {json.dumps(whole[key])}"
        yield _raw(f"{key} first", f"{{{pair}, {text[1:]}")
        yield _raw(f"{key} last", f"{text[:-1]}, {pair}}}")
        escaped = "".join(f"\\u{ord(c):04x}" for c in key)
        yield _raw(f"{key} escaped", f'{text[:-1]}, "{escaped}": {json.dumps(whole[key])}}}')
    for key in ("path", "type", "r", "sha256", "files", "algorithm", "key_id"):
        yield _raw(f"inner {key}", text.replace(f'"{key}":', f'"{key}": 1, "{key}":', 1))


@attack_class("numbers and texts that no JSON has")
def strange_values() -> Iterator[Attack]:
    text = _text(perf={"latency_ms_overhead": 12345})
    for value in (
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        "1" * 400,
        "9" * 100_000,
        "0x10",
        "01",
        "+1",
        ".5",
        "1.",
        "1_000",
        "-",
        "true1",
        "undefined",
    ):
        yield _raw(value[:20], text.replace("12345", value))
    for label, escape in {
        "lone high surrogate": "\\ud800",
        "lone low surrogate": "\\udc00",
        "swapped surrogates": "\\udc00\\ud800",
        "zero": "\\u0000",
        "escape": "\\u001b[31m",
        "delete": "\\u007f",
        "C1 control": "\\u009b",
        "raw newline": "\n",
        "raw tab": "\t",
        "raw zero": "\0",
        "unknown escape": "\\x41",
    }.items():
        yield _raw(label, text.replace("A sample.", escape))
        yield _raw(f"{label} in a key", text.replace('"description"', f'"{escape}_"'))
    for code in (*range(8), 11, 12, *range(14, 32)):
        yield _raw(f"control {code}", text.replace("A sample.", f"\\u{code:04x}"))


@attack_class("manifests made to be slow")
def slow() -> Iterator[Attack]:
    base = _text()[:-1]
    long = "k" * 400_000
    for label, data in {
        "32 objects": f'{base}, "_": {"{" * 5}}}',
        "33 levels": f'{base}, "_": {"[" * 33}{"]" * 33}}}',
        "500,000 levels": f'{base}, "_": {"[" * 500_000}',
        "500,000 object levels": '{"a":' * 200_000,
        "a long key over many values": f'{base}, "_{long}": [{"1," * 200_000}1]}}',
        "long keys inside each other": f'{base}, "_": {{"{long}": {{"{long}": [1, 2]}}}}}}',
        "100,000 unknown keys": f"{base}, " + ", ".join(f'"k{i}": 1' for i in range(80_000)) + "}",
        "19,000 unknown keys": f"{base}, " + ", ".join(f'"k{i}": 1' for i in range(19_000)) + "}",
        "19,000 nearly known keys": f"{base}, "
        + ", ".join(f'"descriptio{i}": 1' for i in range(19_000))
        + "}",
        "200,000 wrong capabilities": f'{base}, "capabilities": [{"1," * 200_000}1]}}',
        "19,000 wrong capabilities": f'{base}, "capabilities": [{"1," * 19_000}1]}}',
        "19,000 base models": f'{base}, "soft_prompts": [{"{}," * 19_000}{{}}]}}',
        "a megabyte of digits": f'{base}, "_": {"1" * 900_000}}}',
        "a megabyte of decimals": f'{base}, "r": 0.{"1" * 900_000}}}',
        "a megabyte of quotes": f'{base}, "_": "{chr(92)}"' + '"' * 900_000,
        "a megabyte of backslashes": f'{base}, "_": "' + "\\" * 900_000,
        "a megabyte of surrogates": f'{base}, "_": "' + "\\ud800" * 150_000 + '"}',
        "a megabyte of spaces": " " * ((1 << 20) - 100) + "x",
        "more than a megabyte": f'{base}, "_": "{"x" * (1 << 20)}"}}',
        "a long unknown key": f'{base}, "{"x" * 900_000}": 1}}',
        "an unknown key of a thousand": f'{base}, "{"x" * 1000}": 1}}',
        "a long name": _text(name="expert-" + "a-" * 400_000),
        "a long version": _text(version="1.0.0-" + "a." * 400_000),
        "a version of digits": _text(version="1" * 900_000 + ".0.0"),
        "a long path": _text(integrity={"files": {"a/" * 400_000: "0" * 64}}),
    }.items():
        yield _raw(label, data)
    for count in (5_000, 19_000):
        yield _raw(f"{count} control characters", json.dumps(document({}, _c=["\x01"] * count)))
        doubled = ", ".join('"_a": 1' for _ in range(count // 2))
        yield _raw(f"{count} repeated keys", f"{base}, {doubled}}}")


@attack_class("regular expressions made to be slow")
def slow_patterns() -> Iterator[Attack]:
    """They are compiled before anybody is trusted; matching them is the router's matter."""
    for label, pattern in {
        "wide ranges": "[\u0100-\U0010ffff]" * 102,
        "wide ranges without case": "(?i)" + "[\u0100-\U0010ffff]" * 101,
        "one wide set": "(?i)[" + "\u0100-\U0010ffff" * 168 + "]",
        "all but a wide range": "(?i)" + "[^\u0100-\U0010ffff]" * 84,
        "endless repetition": "a{4294967296}",
        "deep groups": "(" * 255 + "a" + ")" * 256,
        "look-behind without end": "(?<=a*)b",
        "ranges in 64 limitations": "[\u0100-\uffff]" * 100,
    }.items():
        for count in (1, 64, 100, 101, 500):
            limitations = [{"pattern": pattern, "regex": True, "_n": n} for n in range(count)]
            yield Attack(f"{label}, {count} times", package(limitations=limitations))
    yield Attack("harmless ones, too many", package(limitations=[{"pattern": "a"}] * 101))


def _integrity(**changes: Any) -> dict[str, Any]:
    true: dict[str, Any] = document(sample_members())["integrity"]
    return {k: v for k, v in {**true, **changes}.items() if v is not ...}


@attack_class("wrong formats and algorithms")
def algorithms() -> Iterator[Attack]:
    hashes = "md5 sha1 sha224 sha512 sha3-256 SHA256 Sha256 sha-256 none crc32 blake2b sha256,"
    for algorithm in (*hashes.split(), "", None, ["sha256"], 256, {}, ...):
        yield Attack(f"algorithm {algorithm}", package(integrity=_integrity(algorithm=algorithm)))
    for number in (0, 1, 3, -2, 2.5, "2", None, True, [2], 2**70, ...):
        yield Attack(f"format {number}", package(integrity=_integrity(format=number)))
    for version in ("3.0", "1", "2", 2.0, None, "2.0.0", "", "9.9", "1.0"):
        yield Attack(f"schema {version}", package(schema_version=version))


@attack_class("lies about identity")
def identity() -> Iterator[Attack]:
    for name in (
        "sample",
        "expert-",
        "Expert-sample",
        "expert-Sample",
        "expert--sample",
        "expert-sample-",
        "expert-sample/../x",
        "../expert-sample",
        "expert-sämple",
        "expert-sample\n",
        "expert-" + "a" * 60,
        "",
        " expert-sample",
        "expert-sample expert-sql",
        "expert-*",
        "expert-sample@1.0",
        "expert-sample+expert-sql",
        "auto",
        1,
        None,
        ["expert-sample"],
    ):
        yield Attack(f"name {name!r}", package(name=name))
    for version in (
        "1",
        "1.0",
        "v1.0.0",
        "1.0.0.0",
        "01.0.0",
        "1.0.0-",
        "1.0.0-01",
        "1.0.0+",
        "",
        "latest",
        "1.0.0\n",
        "-1.0.0",
        "१.0.0",
        "1.0.0 ",
        1.0,
        None,
    ):
        yield Attack(f"version {version!r}", package(version=version))
    for created in (
        "",
        "now",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-01-01T00:00:00+02:00",
        0,
        None,
    ):
        yield Attack(f"made {created!r}", package(integrity=_integrity(created_at=created)))
    for publisher in ("", "Ann\nTrusted: yes", "x" * 600, 1, None):
        yield Attack(
            f"publisher {publisher!r}"[:60], package(integrity=_integrity(publisher=publisher))
        )


@attack_class("members that the manifest has and the package has not, or the reverse")
def declarations() -> Iterator[Attack]:
    files = document(sample_members())["integrity"]["files"]
    for path in (
        "README.md",
        "LICENSE",
        "x.py",
        "adapter/adapter_model.bin",
        "../x",
        "/etc/passwd",
    ):
        yield Attack(
            f"{path} too many", package(integrity=_integrity(files={**files, path: "0" * 64}))
        )
    for path in files:
        fewer = {p: h for p, h in files.items() if p != path}
        yield Attack(f"{path} missing", package(integrity=_integrity(files=fewer)))
    for label, value in {
        "none": ...,
        "empty": {},
        "null": None,
        "a list": list(files),
        "pairs": list(files.items()),
        "signature": {**files, "signature.sig": "0" * 64},
        "itself": {**files, "manifest.json": "0" * 64},
        "upper": {p.upper(): h for p, h in files.items()},
        "dots": {f"./{p}": h for p, h in files.items()},
    }.items():
        yield Attack(f"files: {label}", package(integrity=_integrity(files=value)))
    yield Attack("no integrity", package(integrity={}))
    yield Attack("integrity null", package(integrity=None))
    whole = document(sample_members())
    del whole["integrity"]
    yield _raw("integrity missing", json.dumps(whole))


@attack_class("references that lead elsewhere")
def references() -> Iterator[Attack]:
    places = (
        "/etc/passwd",
        "../x",
        "weights/",
        "adapter/../adapter/",
        "./adapter/",
        "adapter",
        "",
        "http://example.org/x",
        "~/x",
        "adapter/adapter_model.safetensors",
        None,
        1,
    )
    for place in places:
        yield Attack(f"adapter at {place}", package(base_models=_base(path=place)))
        if place != "adapter":
            yield Attack(
                f"grammar at {place}",
                package(training={"decoding": {"use_grammar": True, "grammar_file": place}}),
            )
            yield Attack(f"tests at {place}", package(evaluation={"test_cases": place}))
            yield Attack(
                f"schema at {place}",
                package(training={"decoding": {"json_schema": place}}),
            )
    prompt = {"name": "tone", "tokens": 4, "init_method": "random"}
    for place in places:
        yield Attack(f"soft prompt at {place}", package(soft_prompts=[{**prompt, "path": place}]))


def _base(**changes: Any) -> list[dict[str, Any]]:
    entry = copy.deepcopy(document(sample_members())["base_models"][0])
    entry["adapters"][0] |= changes
    return [entry]


@attack_class("lies about the adapter")
def adapters() -> Iterator[Attack]:
    for changes in (
        {"size_bytes": 0},
        {"size_bytes": 10**12},
        {"size_bytes": -1},
        {"size_bytes": "1"},
        {"sha256": "0" * 64},
        {"sha256": ""},
        {"sha256": "A" * 64},
        {"r": 1},
        {"r": 3},
        {"r": 0},
        {"r": -2},
        {"r": 513},
        {"r": 2.0},
        {"r": True},
        {"rank": 2, "r": 4},
        {"alpha": 0},
        {"alpha": -4},
        {"alpha": 1e308},
        {"alpha": "4"},
        {"type": "dora"},
        {"type": "ia3"},
        {"type": "lokr"},
        {"type": "adalora"},
        {"type": "LORA"},
        {"type": "full"},
        {"target_modules": []},
        {"target_modules": ["q_proj"]},
        {"target_modules": ["q_proj", "v_proj", "k_proj"]},
        {"target_modules": ["lm_head"]},
        {"target_modules": ["embed_tokens"]},
        {"target_modules": "q_proj"},
        {"target_modules": ["q_proj", "q_proj", "v_proj"]},
        {"target_modules": [".*"]},
        {"feedforward_modules": ["q_proj"]},
        {"scaling": "rslora"},
        {"scaling": "learned"},
        {"dropout": 1},
        {"modules_to_save": ["lm_head"]},
        {"bias": "all"},
        {"trust_remote_code": True},
        {"auto_map": {"AutoModel": "evil.py"}},
    ):
        yield Attack(json.dumps(changes), package(base_models=_base(**changes)))
    one = _base()[0]
    yield Attack("two base models", package(base_models=[one, {**one, "name": "Qwen/Qwen3-0.6B"}]))
    yield Attack("two adapters", package(base_models=[{**one, "adapters": one["adapters"] * 2}]))
    yield Attack("no adapter declared", package(base_models=[{**one, "adapters": []}]))
    yield Attack("no base model", package(base_models=[]))


@attack_class("unknown keys")
def unknown_keys() -> Iterator[Attack]:
    for key in (
        "trust",
        "trusted",
        "skip_verification",
        "policy",
        "auto_map",
        "trust_remote_code",
        "scripts",
        "postinstall",
        "hooks",
        "command",
        "constructor",
        "class",
        "Name",
        "NAME",
        "name ",
        "",
        "$schema",
        "python",
        "requirements",
    ):
        for value in (True, "import os", {"x": 1}):
            yield Attack(f"{key}: {value}", package(**{key: value}))
        yield Attack(f"integrity.{key}", package(integrity=_integrity(**{key: True})))
        yield Attack(f"adapter.{key}", package(base_models=_base(**{key: True})))
