"""Differentially private training: bounded gradients of single samples, noise, and the budget that they spend."""

from .accountant import epsilon_of as epsilon_of
from .accountant import quick_epsilon_of as quick_epsilon_of
from .gradients import PrivateGradients as PrivateGradients
from .gradients import PrivateStep as PrivateStep
from .settings import DPSGD as DPSGD
from .settings import create_privacy as create_privacy
