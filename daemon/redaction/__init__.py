"""Replace what is personal or secret in a payload by something of the same shape. Pure."""
