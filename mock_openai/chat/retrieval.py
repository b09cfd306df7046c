CLEARANCES = ("public", "internal", "confidential", "secret")
