"""Active conformance: cases that test an endpoint as a careful tester would, and judge its responses."""
