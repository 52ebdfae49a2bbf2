"""Member names that lead out, forge a line of the signed message, or mean two files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from tests.package.hostile.attack import Attack, attack_class
from tests.package.hostile.forge import (
    ANN,
    document,
    header,
    padded,
    sealed,
    signature,
    spliced,
    tar,
)
from tests.package.samples import sample_members


def _named(names: Iterable[str | bytes]) -> Iterator[Attack]:
    """A member of each name, not declared; and one that is declared and signed."""
    for name in names:
        raw = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
        row = header(raw, 4) + padded(b"evil")
        yield Attack(f"{name!r}", spliced(row, raw.decode("latin-1")))
        yield Attack(f"{name!r}, signed", _declared(raw, row))


def _declared(raw: bytes, row: bytes) -> bytes:
    """The member is in the manifest and under Ann's signature, as if she had packed it."""
    shown = raw.decode("ascii", "replace").encode("ascii", "replace").decode()
    members = {**sample_members(), shown: b"evil"}
    everything = sealed(members)
    rows = sorted(
        (path, header(path.encode(), len(data)) + padded(data))
        for path, data in everything.items()
        if path != shown
    )
    rows = sorted([*rows, (raw.decode("latin-1"), row)])
    return tar(record for _, record in rows)


def _up(depth: int) -> str:
    return "../" * depth + "outside/secret"


@attack_class("path traversal")
def traversal() -> Iterator[Attack]:
    yield from _named(_up(depth) for depth in range(1, 12))
    yield from _named(
        (
            "adapter/../../outside/secret",
            "adapter/../adapter_config.json",
            "tests/../../../outside/secret",
            "soft_prompts/../../outside/secret.safetensors",
            "./README.md",
            "adapter/./adapter_config.json",
            "..",
            ".",
            "../",
            "adapter/..",
            "soft_prompts/...safetensors",
            "soft_prompts/..safetensors",
        )
    )


@attack_class("absolute names")
def absolute() -> Iterator[Attack]:
    yield from _named(
        (
            "/etc/passwd",
            "/tmp/hive-expert-was-here",
            "//README.md",
            "/README.md",
            "/adapter/adapter_config.json",
            "///",
            "/",
            "~/README.md",
            "$HOME/README.md",
            "file:///etc/passwd",
        )
    )


@attack_class("names of other systems")
def other_systems() -> Iterator[Attack]:
    yield from _named(
        (
            "C:README.md",
            "C:\\README.md",
            "..\\outside\\secret",
            "adapter\\adapter_config.json",
            "\\\\host\\share\\x",
            "README.md:stream",
            "README.md::$DATA",
            "CON",
            "nul.txt",
            "aux.safetensors",
            "README.md.",
            "README.md ",
            " README.md",
            "LPT1",
        )
    )


@attack_class("newlines and control characters in names")
def control_characters() -> Iterator[Attack]:
    """A newline in a name would write a line of the signed message."""
    yield from _named(
        f"README.md{chr(code)}{'0' * 64}  LICENSE" for code in (*range(1, 32), 127, 32)
    )
    yield from _named(f"a{chr(code)}" for code in (*range(1, 32), 127))


@attack_class("case twins")
def case_twins() -> Iterator[Attack]:
    yield from _named(
        (
            "MANIFEST.JSON",
            "Manifest.json",
            "manifest.JSON",
            "readme.md",
            "Readme.md",
            "license",
            "License",
            "Signature.sig",
            "SIGNATURE.SIG",
            "Adapter/adapter_config.json",
            "adapter/Adapter_Config.json",
            "adapter/adapter_model.SAFETENSORS",
            "ADAPTER/adapter_model.safetensors",
            "Grammar.gbnf",
            "Tests/test_cases.json",
        )
    )
    for one, other in (("A", "a"), ("tone", "Tone"), ("x", "X"), ("aB", "Ab")):
        members = sample_members()
        data = members["adapter/adapter_model.safetensors"]
        members |= {f"soft_prompts/{n}.safetensors": data for n in (one, other)}
        everything = sealed(members)
        rows = [header(p.encode(), len(d)) + padded(d) for p, d in sorted(everything.items())]
        yield Attack(f"soft prompts {one} and {other}", tar(rows))


@attack_class("Unicode twins")
def unicode_twins() -> Iterator[Attack]:
    yield from _named(
        (
            "m\u0430nifest.json",
            "manifest\u200b.json",
            "manifest.json\u200d",
            "\u202enosj.tsefinam",
            "manifest\uff0ejson",
            "\uff32\uff25\uff21\uff24\uff2d\uff25.md",
            "re\u0301adme.md",
            "r\u00e9adme.md",
            "\ufb01le.md",
            "adapter\u2215adapter_config.json",
            "adapter\u2044adapter_config.json",
            "\u212aEY.md",
            "\u017fignature.sig",
            "LICEN\u017fE",
            "\ufeffmanifest.json",
        )
    )
    yield from _named(bytes([code]) + b".md" for code in (0x80, 0xC0, 0xE9, 0xFE, 0xFF))
    yield from _named((b"manifest\xc0\xae.json", b"\xe0\x80\xafREADME.md"))


@attack_class("deep and long paths")
def deep_paths() -> Iterator[Attack]:
    for depth in (2, 3, 5, 10, 20, 40):
        yield from _named([("d/" * depth) + "x"])
    for length in (92, 99, 100):
        yield from _named(["n" * length])
    for prefix, name in (
        (b"p" * 155, b"n" * 100),
        (b"soft_prompts/" + b"a/" * 60, b"x.safetensors"),
        (b"..", b"README.md"),
        (b"/etc", b"passwd"),
        (b"", b""),
        (b"adapter", b""),
        (b"adapter", b"adapter_config.json"),
        (b"soft_prompts", b"../x.safetensors"),
    ):
        row = header(name, 4, fields={345: prefix}) + padded(b"evil")
        path = (prefix + b"/" + name).decode("latin-1")
        yield Attack(f"prefix {prefix[:20]!r} name {name[:20]!r}", spliced(row, path))


@attack_class("unsigned and undeclared extras")
def extras() -> Iterator[Attack]:
    """Allowed names, but neither in the manifest nor under the signature."""
    for name in ("LICENSE", "README.md", "grammar.gbnf", "tests/test_cases.json"):
        for body in (b"evil", b"", b"x" * 4000):
            row = header(name.encode(), len(body)) + padded(body)
            yield Attack(f"{name} {len(body)}", spliced(row, name))
    weights = sample_members()["adapter/adapter_model.safetensors"]
    for tone in ("a", "z", "-", "_", "tone.v2"):
        name = f"soft_prompts/{tone}.safetensors"
        row = header(name.encode(), len(weights)) + padded(weights)
        yield Attack(name, spliced(row, name))


@attack_class("code and pickles")
def code() -> Iterator[Attack]:
    yield from _named(
        f"{folder}{name}"
        for folder in ("", "adapter/", "soft_prompts/", "tests/")
        for name in (
            "adapter_model.bin",
            "pytorch_model.bin",
            "x.pt",
            "x.pth",
            "x.pkl",
            "x.pickle",
            "x.ckpt",
            "x.npy",
            "x.so",
            "__init__.py",
            "conftest.py",
            "setup.py",
            "modeling_x.py",
            "x.PT",
            "x.safetensors.bin",
        )
    )


@attack_class("names that the store or the system uses")
def reserved() -> Iterator[Attack]:
    yield from _named(
        (
            ".sha256sums",
            "staging",
            "staging/x",
            ".lock",
            ".git/config",
            ".gitattributes",
            ".bashrc",
            ".ssh/authorized_keys",
            "trust.json",
            "adapter",
            "adapter/",
            "tests/test_cases.json/x",
            "manifest.json/x",
            "soft_prompts/.hidden.safetensors",
            "soft_prompts/.safetensors",
            "soft_prompts/a/b.safetensors",
            "soft_prompts/",
            "-rf",
            "--help",
            "*",
            "?",
            "a;b",
            "`id`",
            "$(id)",
            "|id",
        )
    )
    members = sample_members()
    manifest = document({**members, "signature.sig": b"evil"})
    everything = {**members, "manifest.json": json.dumps(manifest).encode()}
    everything["signature.sig"] = signature(everything, ANN)
    rows = [header(p.encode(), len(d)) + padded(d) for p, d in sorted(everything.items())]
    yield Attack("the manifest declares the signature", tar(rows))
