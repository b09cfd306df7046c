"""One stream on one timestamped connection: thin shells around sans-I/O layers."""
