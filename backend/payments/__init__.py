"""Payments on Stripe: authorised, then captured for the order that won its tickets or voided."""
