"""Servers that speak a store's wire format on loopback, for stores that cannot be had here."""
