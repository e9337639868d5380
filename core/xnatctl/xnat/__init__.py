"""The XNAT server: one module for each noun of its REST API, above one HTTP client (`http`)."""
