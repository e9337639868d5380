"""Files that are not DICOM: where they go, what is there already, how they are sent and compared."""
