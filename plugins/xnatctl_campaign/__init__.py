"""Campaigns: many sessions, from a manifest of rows, on one machine or several."""
