"""Worker processes: what runs actions, plug-ins and templates, so that none of them can harm the daemon."""
