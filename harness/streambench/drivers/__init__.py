"""One stream on one stamped connection: thin shells around sans-I/O layers."""
