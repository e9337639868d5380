"""Delivers plans: planning, sending, settling, verifying."""
