"""The documentation: its code runs, its references are whole, its site can be built."""
