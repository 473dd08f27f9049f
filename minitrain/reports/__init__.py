"""A run as one HTML file."""

from .html import write_html_report as write_html_report
