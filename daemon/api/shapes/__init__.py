"""How the API writes what it answers: typed mappings, from which the OpenAPI document is made."""
