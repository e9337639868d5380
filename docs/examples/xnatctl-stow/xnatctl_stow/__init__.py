"""An example plugin for xnatctl: DICOMweb."""
