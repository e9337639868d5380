"""Output formats and progress."""
