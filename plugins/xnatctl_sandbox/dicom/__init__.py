"""The DICOM Receiver of the sandbox."""
