"""The command line: the only package of core that imports click and prints."""
