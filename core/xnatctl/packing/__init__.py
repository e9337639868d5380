"""Bodies of requests: files as they are, and bundles of them. For every transport that packs."""
