"""What log records carry for programs that show them."""

from __future__ import annotations

IN_RESULT = "in_result"
"""Attribute of records that the result says again: a program that prints the result need not print them."""
