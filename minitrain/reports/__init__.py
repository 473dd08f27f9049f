"""A run as one HTML file, and as a notebook shows it."""

from .html import write_html_report as write_html_report
from .run_view import RunView as RunView
