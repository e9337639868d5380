"""What is on disk: walking, DICOM headers, ready-made archives, and opening what was planned."""
