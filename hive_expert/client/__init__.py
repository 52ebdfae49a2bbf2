"""Talking to a server from Python and from the command line.

`engine.ExpertEngine` is the Python API; `client.HiveClient` asks a running server through the
openai client; `plain_http` is for commands that only look something up and should start at once.
"""
