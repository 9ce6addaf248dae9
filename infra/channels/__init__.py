"""The ways to an agency, a module each, behind the port in `domain.delivery`; one contract suite holds them."""
