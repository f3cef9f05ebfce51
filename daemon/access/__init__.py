"""Who may ask the admin listener what: tokens, scopes, the browser's session, and a brake on guessing."""
