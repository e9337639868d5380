"""The prearchive, the archive, and the way from the first to the second."""
