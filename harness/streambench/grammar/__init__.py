"""Event grammars: a notation, the automata it compiles to, and runs of them over a stream's events."""

from streambench.grammar.automaton import Automaton, compile_grammar
from streambench.grammar.checker import GrammarChecker
from streambench.grammar.deviations import Deviation
from streambench.grammar.notation import GrammarError

__all__ = ["Automaton", "Deviation", "GrammarChecker", "GrammarError", "compile_grammar"]
