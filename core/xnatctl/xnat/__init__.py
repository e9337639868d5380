"""The XNAT server: one client, and a module for each part of its interface (see the contract of the server)."""
