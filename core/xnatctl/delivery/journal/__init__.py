"""The record of each upload: the SQLite store, the journal, and summaries."""
