"""Payments on Stripe: authorised first, captured only for the order that won its tickets, voided otherwise."""
