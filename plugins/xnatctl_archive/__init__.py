"""Commands that show sessions and scans and manage the prearchive."""
