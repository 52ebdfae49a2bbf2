"""Requests that are made to harm: grammars and bodies of every kind, beside neighbours.

`python -m tests.e2e.hostile_requests --help` counts over all of them,
`tests/e2e/test_hostile_requests.py` is the short form.
"""
