"""An example plugin for xnatctl."""
