"""The standard library, written in the language itself (the .maj files beside this one)."""
