"""DICOM C-STORE: the transport and its command."""
