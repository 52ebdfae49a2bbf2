"""A tour of the Python API, in cells: run it whole, or cell by cell where your editor knows `# %%`.

It starts an engine of its own on the packages of `make demo`; with HIVE_URL it asks a server that
already runs.
"""

# %% An engine: the base model and the experts beside it
import asyncio
import os
from pathlib import Path

from hive_expert import ExpertEngine, Sampling, Step

packages = Path(__file__).parents[1] / ".hive" / "experts"
engine = ExpertEngine("smollm2-135m", packages, url=os.environ.get("HIVE_URL"))
greedy = Sampling(temperature=0, max_tokens=64)
for expert in engine.experts():
    print(expert["id"], expert["state"])

# %% Ask, and let the router choose who answers
schema = "Dialect: sql\nSchema:\nusers(id, name, age)"
answer = engine.infer("Find all users older than 25.", system=schema, sampling=greedy)
print(answer.output, answer.experts_used, answer.route, f"{answer.latency_ms:.0f} ms")

# %% None of the experts is right for this: the base model answers
print(engine.infer("What is the capital of France?", sampling=greedy).output)

# %% Name the expert yourself; `body` is what it is asked of
person = 'Dialect: json\nSchema:\n{"type":"object","properties":{"name":{"type":"string"}}}'
text = "Anna Berg, 34 years old, lives in Oslo."
print(engine.infer(body=text, experts=["expert-json"], system=person, sampling=greedy).output)

# %% Several experts at once: the weighted sum of their adapters
# Their grammars differ, so a composition has none; ask for a few tokens only.
both = engine.infer("Hello", experts=["expert-sql:0.6", "expert-json:0.4"], max_tokens=8)
print(both.experts_used)

# %% One after the other: each step is asked of the answer before
chain = engine.chain(
    [
        Step(["expert-json"], system=person, sampling=greedy),
        Step([], prompt="Greet this person in one sentence:", sampling=greedy),
    ],
    body=text,
)
print(chain.output, chain.experts_used)

# %% Piece by piece
with engine.stream("What is the capital of France?", sampling=greedy) as stream:
    for piece in stream:
        print(piece, end="", flush=True)
print()


# %% Many at once: they share a batch
async def several() -> None:
    questions = [f"Find all users older than {age}." for age in (20, 30, 40)]
    answers = await asyncio.gather(
        *(engine.infer_async(question, system=schema, sampling=greedy) for question in questions)
    )
    for found in answers:
        print(found.output)


asyncio.run(several())

# %% Who would answer, and why
print(engine.route("Explain what SELECT does")["reasons"])
engine.close()
