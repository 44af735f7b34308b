"""The tools, one module each: usage text, arguments, run. None knows another."""
