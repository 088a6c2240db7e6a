"""Attacks on an instance of this machine: the process that runs them, each at a stated rate.

A module for each surface has coroutines that take an `Attacker` and end with its time.
"""
