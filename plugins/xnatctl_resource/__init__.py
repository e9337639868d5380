"""Resources: files beside the images, sent as bundles or one by one, and listed."""
