"""Studies: which parts are done, seeds in one program, choice, differences and tables."""
