"""The text language: grammar, syntax tree, index and range rules, elaboration, diagnostics."""

from .front_end import CheckResult, check_file, check_text

__all__ = ["CheckResult", "check_file", "check_text"]
