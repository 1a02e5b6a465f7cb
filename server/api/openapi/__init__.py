"""The description of the API: `GET /openapi.json`, and the operations of each dialect."""
