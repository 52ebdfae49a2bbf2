"""Requests for TypeScript with the code that answers them, and tests that prove it.

A *task* (`task.py`) is a wanted signature, what it should do, the code and its tests. Tasks come
from families written out (`functions.py`, text in ``data/``), from what can be done with an array
(`pipelines.py`) or with an array of objects (`records.py`), and from types (`shapes.py`).
`phrasing.py` asks for a task, `dataset.py` and `cases.py` mix the rows and the test cases, and
`proof.py` has every answer type-checked and run on its tests.
"""
