"""What a client makes of an index whose keeper, or server, is not honest or makes mistakes.

The files and tests have the names that the cases have in the TUF project's conformance suite
(github.com/theupdateframework/tuf-conformance); `test_ours.py` has a few more. Left out are those
that try the suite's own client program (`test_implicit_refresh`, `test_static_repositories`):
there is one way to read an index here, and it always refreshes first.
"""
