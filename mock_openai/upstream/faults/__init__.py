"""What the fake upstream does wrong on order: one file a stage, and the catalogue of all of them."""
