"""The checks of `campaign plan` that need more than one row, or the server. Each module holds one kind of check."""
