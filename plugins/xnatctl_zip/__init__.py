"""Transports that bundle: many instances in one tar or zip per request."""
