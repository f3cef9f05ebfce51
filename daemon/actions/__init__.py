"""What can be done and how a step does it: actions loaded, options checked and rendered, attempts carried out."""
