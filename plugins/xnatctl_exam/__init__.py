"""`session upload-exam`: a whole scanner export, its images as a session and everything else as resources."""
