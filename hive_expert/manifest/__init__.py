"""The manifest: its models, how it is read and written, and how each field is honoured."""
