"""The dashboard: pages that work without JavaScript, made of what the API's endpoints answer."""
