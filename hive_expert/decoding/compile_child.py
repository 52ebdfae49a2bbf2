"""The child that compiles: `python -m hive_expert.decoding.compile_child`.

It compiles as vLLM's engine will (the same tokenizer, the same options) and then walks through
the result for some tokens, since the search for the next token's mask is what a grammar costs
every step, and what makes some grammars unusable that compile at once.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from hive_expert.decoding.child_program import Job, serve

WALK = 48
"""Tokens of the trial walk."""
CACHE_BYTES = 256 * 1024 * 1024
"""Of what is compiled and kept, since schemas have parts in common; the grammar of one graph takes
200 kB. Without a limit it would one day fill the memory, and an innocent grammar count as hostile.
"""


def prepare(greeting: dict[str, Any]) -> Job:
    """A compiler for the tokenizer that the greeting brings.

    ``tokenizer_info`` is xgrammar's own serialization; ``compact_json`` whether JSON comes
    without white space; ``niceness``, if there is one, how far others go first.
    """
    import xgrammar

    tokens = xgrammar.TokenizerInfo.deserialize_json(greeting["tokenizer_info"])
    # The engine has threads to spare for this, a check beside it should not.
    compiler = xgrammar.GrammarCompiler(tokens, max_threads=1, cache_limit_bytes=CACHE_BYTES)
    any_whitespace = not greeting["compact_json"]
    separators = (",", ":") if greeting["compact_json"] else None

    compile_by_kind: dict[str, Callable[[str], Any]] = {
        "grammar": compiler.compile_grammar,
        "lark": compiler.compile_lark,
        "regex": compiler.compile_regex,
        "structural_tag": partial(_compile_tag, xgrammar, compiler),
        "json_schema": lambda text: compiler.compile_json_schema(
            text, any_whitespace=any_whitespace, separators=separators
        ),
    }

    # Only now: getting ready is what somebody waits for.
    os.nice(greeting.get("niceness", 0))

    def compile_one(message: dict[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            compiled = compile_by_kind[message["kind"]](message["text"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            # The first two are what xgrammar raises for a text that it does not take, the others
            # come of a structural tag that lacks its parts.
            return {"refused": (str(error).strip() or "no reason given").splitlines()[-1][:300]}
        compiled_s = time.perf_counter() - started
        mask_s, dead_end = _walk(xgrammar, compiled, tokens.vocab_size)
        return {"compile_s": compiled_s, "mask_s": mask_s, "dead_end": dead_end}

    return compile_one


def _compile_tag(xgrammar: Any, compiler: Any, text: str) -> Any:
    """A structural tag, in whichever of its two forms vLLM will take it for.

    One with `structures` is the older form to vLLM, whatever else it says.
    """
    tag = json.loads(text)
    if "structures" not in tag:
        return compiler.compile_structural_tag(text)
    items = [
        xgrammar.StructuralTagItem(
            begin=item["begin"], schema=json.dumps(item["schema"]), end=item["end"]
        )
        for item in tag["structures"]
    ]
    return compiler.compile_structural_tag(items, tag["triggers"])


def _walk(xgrammar: Any, compiled: Any, vocabulary: int) -> tuple[float, bool]:
    """The longest search for a mask on one way through, and whether that way is a dead end.

    The way is fixed: at step i it takes one of the allowed tokens, by a multiplier that spreads
    over them, rather than the first, which is often the same repetition for ever.
    """
    matcher = xgrammar.GrammarMatcher(compiled)
    mask = xgrammar.allocate_token_bitmask(1, vocabulary)
    longest = 0.0
    for step in range(WALK):
        if matcher.is_terminated():
            break
        # Of the processor: a busy machine makes no grammar slow.
        started = time.thread_time()
        matcher.fill_next_token_bitmask(mask)
        longest = max(longest, time.thread_time() - started)
        allowed = _set_bits(mask.numpy()[0], vocabulary)
        if not len(allowed):
            return longest, True
        if not matcher.accept_token(int(allowed[(step * 7919 + 13) % len(allowed)])):
            break
    return longest, False


def _set_bits(row: Any, vocabulary: int) -> Any:
    import numpy

    return numpy.unpackbits(row.view("uint8"), bitorder="little")[:vocabulary].nonzero()[0]


if __name__ == "__main__":
    serve(prepare)
