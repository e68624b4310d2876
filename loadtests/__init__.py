"""Load tests: the side-by-side bench, its GPU form, and the load of a front end."""
