"""The inventory of files on disk: walking, DICOM headers, archive files, and opening planned files."""
