"""Tests of nodeflow.testing."""
