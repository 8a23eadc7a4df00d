"""HTTP only: routes, schemas, the error handler, OpenAPI and the docs page."""
