"""Who may come in: origins, addresses, principals, tickets, places, and one gate that asks them."""
