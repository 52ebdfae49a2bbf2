"""Everything that may happen to a server's experts, at once, with every answer checked.

`python -m tests.e2e.chaos --help` runs it for as long as one likes, on servers of its own, with
faults of the machine as well; `tests/e2e/test_chaos.py` is the short form.
"""
