"""Random trials: an upload, other people and faults at random moments, and what must hold after every run."""
