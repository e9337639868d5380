"""`session upload-exam`: uploads a scanner export, images as a session and other files as resources."""
