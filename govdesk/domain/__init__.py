"""Values and rules shared by all features: standard library and msgspec only, no I/O, no clock."""
