"""Several processes on one port: a parent that accepts connections and keeps the books, and workers that answer."""
