"""The configuration: its files, settings and credentials."""
