"""Receipts: a file that says what an upload sent where, which can be checked at any time."""
