"""Use cases: what happens for a request, told in terms of the other packages."""
