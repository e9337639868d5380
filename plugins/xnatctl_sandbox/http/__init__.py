"""The REST API of XNAT: the WSGI application and its handlers."""
