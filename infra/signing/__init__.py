"""Signatures of provenances: keys, and DSSE envelopes."""
