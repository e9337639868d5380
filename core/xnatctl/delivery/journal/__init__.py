"""What is recorded of each upload: the SQLite store, the journal, and what a later run takes from it."""
