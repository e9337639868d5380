"""How one DICOM object gets from a stream into a session on disk."""
