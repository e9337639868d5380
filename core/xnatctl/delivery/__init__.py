"""From a plan to a proven session: planning, sending, settling, verifying."""
