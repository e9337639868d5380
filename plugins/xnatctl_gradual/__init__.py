"""The transport that sends file by file."""
