"""The simulated users: shoppers, buyers and sellers."""
