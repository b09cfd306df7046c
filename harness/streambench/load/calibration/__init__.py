"""How accurately this machine measures: rising loads against a server of our own that knows when it wrote."""
