"""An XNAT-compatible server on this machine, written from what a real one does."""
