"""The order of events: a notation, its automaton, and a checker that says what came and what was expected."""
