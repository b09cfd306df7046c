"""Being wrong on purpose, one entry a mistake: what a tester of chat servers must notice."""
