"""Active conformance: cases that ask an endpoint what a careful tester would ask, and judge what comes back."""
