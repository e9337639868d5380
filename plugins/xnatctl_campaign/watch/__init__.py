"""`campaign watch`: sends the studies of an inbox when they are quiet, and removes what is proven."""
