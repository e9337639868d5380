"""What goes wrong on request: scripted faults, and what other users do to the data."""
