"""What a stranger can hand to `hive install`: URLs, repositories, indexes and lock files.

Each case has an id and the reason for which it must be refused, or `HARMLESS`: then the package in
it must be installed to the byte, and nothing of the rest may have happened.
"""
