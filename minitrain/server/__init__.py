"""A server for a trained model: a page to explore it, and OpenAI's API for programs."""

from .app import build_app as build_app
from .catalogue import Catalogue as Catalogue
from .guard import checked_key as checked_key
from .limits import Limits as Limits
from .serving import Server as Server
from .serving import serve as serve
