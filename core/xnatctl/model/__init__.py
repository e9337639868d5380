"""Plain data: what is named, planned, sent and reported. Standard library only, JSON both ways."""
