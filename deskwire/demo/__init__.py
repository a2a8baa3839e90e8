"""The demonstration data: an invented shop, its customers and forty conversations."""
