"""JSON Schemas (draft-07) of rules, tests and configuration, for editors."""
