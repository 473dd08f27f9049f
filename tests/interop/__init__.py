"""Tests of models of others, in and out."""
