"""Tools for authors of plugins."""
