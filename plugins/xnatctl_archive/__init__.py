"""Seeing what is on the server, and working through the prearchive."""
