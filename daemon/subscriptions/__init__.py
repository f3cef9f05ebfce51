"""Subscriptions made at a vendor through its API, with the secrets that come back kept in credential files."""
