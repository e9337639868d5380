"""Sources of credentials."""
