"""The command line: the only room where click is known and output is printed."""
