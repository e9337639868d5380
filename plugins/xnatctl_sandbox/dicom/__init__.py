"""The DICOM Receiver of XNAT."""
