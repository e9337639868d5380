"""What a site is: its tables, its clock, its settings. Imports nothing of the other packages."""
