"""Who comes: shoppers, buyers and sellers."""
