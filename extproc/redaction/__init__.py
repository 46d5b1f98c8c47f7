"""Rules to one automaton to an exact streaming scanner."""
