"""Request bodies for transports: plain files and bundles."""
