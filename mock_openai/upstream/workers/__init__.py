"""Several processes on one port: a parent that accepts connections and keeps the state, and workers that answer."""
