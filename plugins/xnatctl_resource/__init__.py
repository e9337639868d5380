"""Resources: files that are not images, uploaded in bundles or one by one, and listed."""
