"""`session upload` and `session verify`: DICOM of one session, or of several studies with a session each."""
