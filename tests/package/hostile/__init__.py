"""Malicious packages by the thousand, each of which `open_package` must refuse.

One module for each kind of attack; a class of attacks is a generator function with a name, see
`attack`. `python -m tests.package.hostile` tries them all and prints a table.
"""
