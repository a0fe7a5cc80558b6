"""Faults at random moments of tiny rounds, each of which has to end with the result of the undisturbed round."""
