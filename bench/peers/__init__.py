"""What is measured beside Deskwire in the same run, each a process of its own."""
