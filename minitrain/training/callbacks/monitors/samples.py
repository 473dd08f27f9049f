"""Text that the model writes while it learns."""

from __future__ import annotations

from ....errors import ConfigError, printable
from ....folder import RunFolder
from ....folder.names import SAMPLES
from ...setup import RunContext, Setup, StepView
from ...state import Update
from ..base import Callback


class SampleGeneration(Callback):
    """Lets a language model continue a prompt every so many steps, on the screen and in ``samples/step-….txt``.

    The random numbers are a function of the run's key and the step, so a resumed run writes the same texts. The model
    writes with the weights that validation uses: those of an `EMA` that comes before, for example.

    Args:
        prompt: the text to continue, in characters that the tokenizer knows.
        every: steps between two texts.
        tokens: length of a text.
        temperature: below 1, text is more predictable; above 1, more varied. 0 always takes the most likely token.
        top_k: choose only among this many of the most likely tokens.
        show: whether to print the texts.
    """

    on_every_rank = False
    reads_numbers = False

    def __init__(
        self,
        prompt: str = "\n",
        *,
        every: int = 500,
        tokens: int = 100,
        temperature: float = 0.8,
        top_k: int | None = None,
        show: bool = True,
    ) -> None:
        if not prompt or every < 1 or tokens < 1 or temperature < 0 or (top_k is not None and top_k < 1):
            raise ConfigError(
                f"SampleGeneration: prompt={prompt!r} must not be empty, every={every}, tokens={tokens} and "
                f"top_k={top_k} at least 1, temperature={temperature} not negative"
            )
        self.prompt, self.every, self.tokens, self.show = prompt, every, tokens, show
        self.temperature, self.top_k = temperature, top_k
        self._setup: Setup | None = None
        self._run = RunContext()

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Find out before the first step whether it can work.

        Raises:
            ConfigError: if there is no tokenizer.
            DataError: if the tokenizer does not know a character of the prompt.
        """
        self._setup, self._run = setup, run
        if run.tokenizer is None:
            raise ConfigError("SampleGeneration needs a tokenizer: give the trainer one")
        run.tokenizer.encode(self.prompt)

    def on_step_end(self, view: StepView, update: Update) -> None:
        """Write a text, if it is time.

        Raises:
            FileError: if the file cannot be written.
        """
        step = view.step
        if step % self.every:
            return
        text = self.prompt + self.write(step)
        if self.show:
            print(printable(f"step {step}, a sample:\n{text.strip()}\n"), flush=True)  # a live bar keeps below it
        if self._run.folder is not None:
            folder = RunFolder(self._run.folder)
            folder.make(SAMPLES)
            folder.write(f"{SAMPLES}/step-{step:08d}.txt", text.encode() + b"\n")

    def write(self, step: int) -> str:
        """The text that the model writes after the prompt at this step."""
        from ....generation import continue_text

        setup = self._setup
        assert setup is not None  # since training has begun
        with self._run.weights.applied():
            return continue_text(
                setup.model,
                self._run.tokenizer,
                self.prompt,
                self.tokens,
                temperature=self.temperature,
                top_k=self.top_k,
                key=setup.key.fold("samples", step),
                device=setup.device,
            )
