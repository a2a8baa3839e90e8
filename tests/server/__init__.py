"""Tests of Deskwire as its users start it: programs of their own, on real files, sockets and signals."""
