"""Classification markings: parse, validate, compare, roll up, render."""
